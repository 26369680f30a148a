// Package sockets reads which TCP sockets listen in a network namespace, by
// inet_diag.
package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// from include/uapi/linux/inet_diag.h
const (
	requestLen = 56 // struct inet_diag_req_v2
	messageLen = 72 // struct inet_diag_msg
	tcpListen  = 10 // TCP_LISTEN of include/net/tcp_states.h
)

// Listening returns the addresses at which a TCP port of the namespace at nsPath
// is listened on; nsPath "" is the caller's own. The unspecified address stands
// for all. Nobody listening is an empty list and no error.
func Listening(nsPath string, port uint16) ([]netip.Addr, error) {
	var addrs []netip.Addr
	read := func() error {
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			a, err := listening(family, port)
			if err != nil {
				return err
			}
			addrs = append(addrs, a...)
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
	return addrs, nil
}

type request [requestLen]byte

func (r *request) Len() int          { return len(r) }
func (r *request) Serialize() []byte { return r[:] }

// listening asks for the listeners of one family. The kernel filters by state
// and port itself, so a host full of connections costs nothing.
func listening(family byte, port uint16) ([]netip.Addr, error) {
	var r request
	r[0], r[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(r[4:], 1<<tcpListen)
	binary.BigEndian.PutUint16(r[8:], port)
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(&r)
	msgs, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ENOENT) {
		return nil, nil // a kernel without IPv6 has no such listeners
	}
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, m := range msgs {
		if len(m) < messageLen {
			return nil, fmt.Errorf("inet_diag message of %d bytes, want %d", len(m), messageLen)
		}
		if binary.BigEndian.Uint16(m[4:]) != port {
			continue
		}
		if family == unix.AF_INET {
			addrs = append(addrs, netip.AddrFrom4([4]byte(m[8:12])))
		} else {
			addrs = append(addrs, netip.AddrFrom16([16]byte(m[8:24])).Unmap())
		}
	}
	return addrs, nil
}

// Accepts reports whether one of the listening addresses takes connections to
// want: itself or the unspecified address. A [::] socket is taken to accept IPv4
// too, which is so unless it was made with IPV6_V6ONLY.
func Accepts(listening []netip.Addr, want netip.Addr) bool {
	for _, a := range listening {
		if a == want || a.IsUnspecified() {
			return true
		}
	}
	return false
}
