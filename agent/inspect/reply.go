package inspect

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// closedPort is one at which nobody listens, as a rule: traceroute's first.
const closedPort = 33434

// Replies sends a guest a datagram to a closed port, from its namespace, and says whether
// its kernel answers: by ICMP, which needs a route back, or at all. It waits so long.
func Replies(ns string, guest netip.Addr, wait time.Duration) (path.Tristate, error) {
	var conn *net.UDPConn
	err := netns.Do(ns, func() (err error) {
		conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(guest, closedPort)))
		return err
	})
	if err != nil {
		return path.Unknown, fmt.Errorf("ask %s at a closed port: %w", guest, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("tapwatch")); err != nil {
		return path.Unknown, fmt.Errorf("ask %s at a closed port: %w", guest, err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return path.Unknown, err
	}
	switch _, err := conn.Read(make([]byte, 1)); {
	case err == nil, errors.Is(err, unix.ECONNREFUSED):
		return path.Yes, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return path.No, nil
	default: // the namespace's own kernel says so: no neighbour, no route
		return path.Unknown, fmt.Errorf("ask %s at a closed port: %w", guest, err)
	}
}
