package flow

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tapwatch/agent/probe"
	"tapwatch/internal/flowtest"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

const (
	million = 1_000_000
	whole   = 10_000 // of the connections that come to be, and end
)

var hostEnd = netip.MustParseAddrPort("169.254.0.22:7000") // of the tap

// A guest that opens a million connections fills no table of ours, and costs the
// agent no memory: what is known of a connection goes with it.
func TestAMillionConnectionsOfAGuest(t *testing.T) {
	nettest.NeedRoot(t)
	h := flowtest.NewHost(t)
	s := h.Slot(t)
	f := watch(t, h, s)
	p, err := probe.Load(probe.Config{HooksDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	d := netns.Device{Netns: s.Cookie, Ifindex: netns.Ifindex(s.Tap(t))}
	if err := p.Attach(s.Netns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	acceptAll(t, s.Netns)
	before := memory(t)
	openWhole(t, s.Guest)
	for received(t, p, d) < million {
		openHalf(t, s.Guest, 100_000)
	}
	if grown := memory(t) - before; grown > 32<<20 {
		t.Errorf("the memory has grown by %d MB", grown>>20)
	}
	stats := read(t, f)
	for _, c := range stats.Connections { // the last of them may still be ending
		if c.Now > 1000 {
			t.Errorf("%+v", c)
		}
	}
	if pairs, err := f.Pairs(); err != nil || len(pairs) > 0 {
		t.Errorf("%d pairs, %v", len(pairs), err)
	}
	nettest.Eventually(t, "nothing of them is left", func() bool {
		left := int64(0)
		for _, c := range read(t, f).Connections {
			left += c.Now
		}
		return left == 0
	})
	for _, u := range stats.Unjoined {
		if u.Count > 0 {
			t.Errorf("%+v", u)
		}
	}
}

func received(t *testing.T, p *probe.Probe, d netns.Device) uint64 {
	t.Helper()
	c, err := p.Counters(d)
	if err != nil {
		t.Fatal(err)
	}
	return c.ReceivePackets
}

// acceptAll takes every connection at the host's end of the tap, and ends it.
func acceptAll(t *testing.T, ns string) {
	t.Helper()
	var l *net.TCPListener
	nettest.In(t, ns, func() (err error) {
		l, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(hostEnd))
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			_ = c.SetLinger(0)
			c.Close()
		}
	}()
}

// openWhole opens connections one by one, several at a time.
func openWhole(t *testing.T, guest string) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(16)
	for range whole {
		g.Go(func() error {
			c, err := netns.DialTCP(context.Background(), guest, hostEnd)
			if err == nil {
				c.Close()
			}
			return nil // one that was reset at once was open all the same
		})
	}
	_ = g.Wait()
}

// openHalf sends that many SYNs, each of another connection.
func openHalf(t *testing.T, guest string, n int) {
	t.Helper()
	var fd int
	var to *unix.SockaddrLinklayer
	var frame []byte
	nettest.In(t, guest, func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		to = &unix.SockaddrLinklayer{Ifindex: eth0.Index, Halen: 6}
		frame = syn(eth0.HardwareAddr)
		return nil
	})
	defer unix.Close(fd)
	for i := range n {
		binary.BigEndian.PutUint16(frame[34:], uint16(i))                      // its own port
		binary.BigEndian.PutUint16(frame[36:], hostEnd.Port()+uint16(i>>16)%8) // one of them is open
		checksum(frame[34:])
		_ = unix.Sendto(fd, frame, 0, to) // where the queue is full it is lost, and counted by nobody
	}
}

// syn is a frame with a SYN from the guest to the host's end of the tap.
func syn(from net.HardwareAddr) []byte {
	b := make([]byte, 54)
	copy(b, []byte{0x02, 0xfc, 0, 0, 0, 6})
	copy(b[6:], from)
	copy(b[12:], []byte{8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 169, 254, 0, 21, 169, 254, 0, 22})
	binary.BigEndian.PutUint16(b[24:], ^fold(sum(b[14:34], 0)))
	b[46], b[47], b[48] = 5<<4, 2, 0x40 // header length, SYN, window
	return b
}

// checksum fills in that of a TCP segment without data between guest and host.
func checksum(tcp []byte) {
	tcp[16], tcp[17] = 0, 0
	pseudo := sum([]byte{169, 254, 0, 21, 169, 254, 0, 22, 0, 6, 0, 20}, 0)
	binary.BigEndian.PutUint16(tcp[16:], ^fold(sum(tcp, pseudo)))
}

func sum(b []byte, s uint32) uint32 {
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// memory is what this process has resident.
func memory(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
