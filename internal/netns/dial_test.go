package netns_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// listenIn listens on a port of a namespace's loopback and answers each caller
// with its address.
func listenIn(t *testing.T, ns string) netip.AddrPort {
	t.Helper()
	var l net.Listener
	nettest.In(t, ns, func() (err error) {
		l, err = net.Listen("tcp4", "127.0.0.1:0")
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().String()) // the test judges
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestDialTCPGoesThroughTheNamespace(t *testing.T) {
	ns := nettest.Netns(t)
	nettest.SetUp(t, ns, "lo", true)
	to := listenIn(t, ns)
	c, err := netns.DialTCP(t.Context(), ns, to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen, err := io.ReadAll(c)
	if err != nil || string(seen) != c.LocalAddr().String() {
		t.Errorf("we are %v, seen as %q, %v", c.LocalAddr(), seen, err)
	}
}

func TestDialTCPFails(t *testing.T) {
	ns := nettest.Netns(t)
	nettest.SetUp(t, ns, "lo", true)
	gone, stop := context.WithCancel(t.Context())
	stop()
	closed := netip.MustParseAddrPort("127.0.0.1:9")
	for name, c := range map[string]struct {
		ctx  context.Context
		path string
		to   netip.AddrPort
		want error
	}{
		"refused":      {t.Context(), ns, closed, syscall.ECONNREFUSED},
		"no route":     {t.Context(), ns, netip.MustParseAddrPort("192.0.2.1:9"), syscall.ENETUNREACH},
		"no namespace": {t.Context(), ns + "-not", closed, netns.ErrNotExist},
		"given up":     {gone, ns, closed, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := netns.DialTCP(c.ctx, c.path, c.to)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if conn != nil {
				conn.Close()
			}
		})
	}
}

// The wait for a peer that never answers ends with the context: nothing is at
// the other end of a tap that somebody only holds.
func TestDialTCPEndsWithItsContext(t *testing.T) {
	ns := nettest.Netns(t)
	silentPeer(t, ns)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if c, err := netns.DialTCP(ctx, ns, netip.MustParseAddrPort("192.0.2.2:9")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, %v", c, err)
	}
}

// silentPeer puts 192.0.2.1 on a tap that somebody holds and nobody reads: no
// other address of its net ever answers.
func silentPeer(t *testing.T, ns string) {
	t.Helper()
	nettest.AttachTap(t, ns, "tap0")
	nettest.SetUp(t, ns, "tap0", true)
	nettest.In(t, ns, func() error {
		link, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		addr := net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(30, 32)}
		return netlink.AddrAdd(link, &netlink.Addr{IPNet: &addr})
	})
}
