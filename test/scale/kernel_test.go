package scale

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
	"tapwatch/internal/sandbox/network"
)

// kernelStorm measures how long after its holder let go of a tap the kernel's
// message of it can be read, by a socket that does nothing else, without an
// agent: no agent can know of it sooner.
func kernelStorm(b *testing.B, f *fleet, taps ...int) (took []time.Duration) {
	b.Helper()
	ids := f.nsids(b, taps...)
	got := make(chan heard, 4*len(taps))
	stop := make(chan struct{})
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- hear(ready, stop, got) }()
	<-ready
	closed := make(map[netns.NSID]time.Time, len(taps))
	for n, i := range taps {
		closed[ids[n]] = time.Now()
		f.taps[i].Close()
	}
	for patience := time.After(time.Minute); len(closed) > 0; {
		select {
		case h := <-got:
			if at, ok := closed[h.id]; ok && h.at.After(at) {
				took = append(took, h.at.Sub(at))
				delete(closed, h.id)
			}
		case <-patience:
			b.Fatalf("of %d taps the kernel told nothing", len(closed))
		}
	}
	close(stop)
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return took
}

// nsids gives the slots' namespaces ids, as an agent does: of others the kernel
// tells nothing.
func (f *fleet) nsids(b *testing.B, slots ...int) (ids []netns.NSID) {
	b.Helper()
	conn, err := nlsafe.Dial()
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for _, i := range slots {
		file, err := os.Open(netns.Path(network.Slot{Index: i + 1}.Netns()))
		if err != nil {
			b.Fatal(err)
		}
		id, err := netns.AssignNSID(conn, file)
		file.Close()
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// heard is a message of a tap without carrier.
type heard struct {
	id netns.NSID
	at time.Time
}

func hear(ready, stop chan struct{}, got chan heard) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, err := range []error{
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_LINK - 1)}),
	} {
		if err != nil {
			return err
		}
	}
	close(ready)
	buf, oob := make([]byte, 64<<10), make([]byte, 128)
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, 0)
		at := time.Now()
		select {
		case <-stop:
			return nil
		default:
		}
		if err != nil || oobn < unix.CmsgLen(4) {
			continue // the timeout, or of our own namespace
		}
		id, err := nlsafe.Uint32(oob[unix.CmsgLen(0):unix.CmsgLen(4)])
		if err == nil && tapWithoutCarrier(buf[:n]) {
			got <- heard{netns.NSID(id), at}
		}
	}
}

// tapWithoutCarrier says whether any message of a datagram tells of one.
func tapWithoutCarrier(b []byte) (yes bool) {
	for len(b) > 0 {
		m, rest, err := nlsafe.Next(b)
		if err != nil {
			return yes
		}
		b = rest
		if m.Type != unix.RTM_NEWLINK || len(m.Body) < unix.SizeofIfInfomsg {
			continue
		}
		tap, down := false, false
		_ = nlsafe.EachAttr(m.Body[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) error {
			switch typ {
			case unix.IFLA_IFNAME:
				tap = unix.ByteSliceToString(v) == "tap0"
			case unix.IFLA_CARRIER:
				down = len(v) == 1 && v[0] == 0
			}
			return nil
		})
		yes = yes || tap && down
	}
	return yes
}
