// Package sockets reads which TCP sockets listen: in one network namespace by
// inet_diag, in all of them by a BPF iterator. A Watcher says when that changes.
package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// from include/uapi/linux/inet_diag.h
const (
	requestLen = 56 // struct inet_diag_req_v2
	messageLen = 72 // struct inet_diag_msg
	// of include/net/tcp_states.h
	tcpTimeWait = 6
	tcpListen   = 10
)

// Listener is a TCP socket that listens.
type Listener struct {
	Addr  netip.Addr // the unspecified address stands for all
	Only6 bool       // it takes no IPv4 (IPV6_V6ONLY)
	PID   int        // 0: unknown
	// Waiting is how many connections are made and wait to be accepted; where more
	// than Most do, no other is made.
	Waiting, Most uint32
}

// Full says whether its accept queue is: sk_acceptq_is_full of include/net/sock.h.
func (l Listener) Full() bool { return l.Waiting > l.Most }

// Listening returns the sockets that listen at a TCP port of the namespace at
// nsPath; nsPath "" is the caller's own. Nobody listening is an empty list and no
// error.
func Listening(nsPath string, port uint16) ([]Listener, error) {
	var all []Listener
	read := func() error {
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			l, err := listening(family, port)
			if err != nil {
				return err
			}
			all = append(all, l...)
		}
		return nil
	}
	var err error
	if nsPath == "" {
		err = read()
	} else {
		err = netns.Do(nsPath, read)
	}
	if err != nil {
		return nil, fmt.Errorf("read listening sockets: %w", err)
	}
	return all, nil
}

type request [requestLen]byte

func (r *request) Len() int          { return len(r) }
func (r *request) Serialize() []byte { return r[:] }

// listening asks for the listeners of one family. The kernel filters by state
// and port itself, so a host full of connections costs nothing.
func listening(family byte, port uint16) ([]Listener, error) {
	msgs, err := dump(family, 1<<tcpListen, port, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ENOENT) {
		return nil, nil // a kernel without IPv6 has no such listeners
	}
	if err != nil {
		return nil, err
	}
	var all []Listener
	for _, m := range msgs {
		if len(m) < messageLen {
			return nil, fmt.Errorf("inet_diag message of %d bytes, want %d", len(m), messageLen)
		}
		if binary.BigEndian.Uint16(m[4:]) != port {
			continue
		}
		l := Listener{Waiting: binary.NativeEndian.Uint32(m[56:]), Most: binary.NativeEndian.Uint32(m[60:])} // idiag_rqueue, idiag_wqueue
		if family == unix.AF_INET {
			l.Addr = netip.AddrFrom4([4]byte(m[8:12]))
		} else {
			l.Addr = netip.AddrFrom16([16]byte(m[8:24])).Unmap()
			if l.Only6, err = only6(m[messageLen:]); err != nil {
				return nil, err
			}
		}
		all = append(all, l)
	}
	return all, nil
}

// dump asks for the sockets in those states with that local and that remote port; 0: any.
func dump(family byte, states uint32, sport, dport uint16) ([][]byte, error) {
	var r request
	r[0], r[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(r[4:], states)
	binary.BigEndian.PutUint16(r[8:], sport)
	binary.BigEndian.PutUint16(r[10:], dport)
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(&r)
	return req.Execute(unix.NETLINK_INET_DIAG, 0)
}

// Dialed counts the IPv4 sockets of the calling thread's namespace that are connected
// to an address, each from a port of its own, those in TIME_WAIT too unless that is
// left out.
func Dialed(to netip.AddrPort, timeWait bool) (n int, err error) {
	states := ^uint32(1 << tcpListen)
	if !timeWait {
		states &^= 1 << tcpTimeWait
	}
	msgs, err := dump(unix.AF_INET, states, 0, to.Port())
	if err != nil {
		return 0, fmt.Errorf("read connected sockets: %w", err)
	}
	for _, m := range msgs {
		if len(m) >= messageLen && netip.AddrFrom4([4]byte(m[24:28])) == to.Addr() && binary.BigEndian.Uint16(m[6:]) == to.Port() {
			n++
		}
	}
	return n, nil
}

// only6 reads INET_DIAG_SKV6ONLY, which comes with every IPv6 listener.
func only6(attrs []byte) (yes bool, err error) {
	const skV6Only = 11
	err = nlsafe.EachAttr(attrs, func(typ uint16, v []byte) error {
		if typ == skV6Only && len(v) > 0 {
			yes = v[0] != 0
		}
		return nil
	})
	return yes, err
}

// Accepting returns the socket that takes connections to want: one that listens
// there, else one that listens on all addresses; of several that share them
// (SO_REUSEPORT) the one with the longest queue.
func Accepting(all []Listener, want netip.Addr) (accepts Listener, ok bool) {
	exact := false
	for _, l := range all {
		switch {
		case l.Addr != want && !l.takes(want) || exact && l.Addr != want:
			continue
		case !ok, !exact && l.Addr == want, l.Waiting > accepts.Waiting:
			accepts, ok = l, true
		}
		exact = exact || l.Addr == want
	}
	return accepts, ok
}

// takes says whether a socket that listens on all addresses listens on this one.
func (l Listener) takes(a netip.Addr) bool {
	return l.Addr.IsUnspecified() && (l.Addr.Is4() == a.Is4() || l.Addr.Is6() && !l.Only6)
}
