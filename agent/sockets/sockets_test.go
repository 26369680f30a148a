package sockets

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
)

func TestListening(t *testing.T) {
	t.Parallel()
	ns := nettest.Netns(t)
	var port uint16
	nettest.In(t, ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		port = l.Addr().(*net.TCPAddr).AddrPort().Port()
		all, err := net.Listen("tcp", "[::]:81")
		if err != nil {
			return err
		}
		t.Cleanup(func() { all.Close() })
		only := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) })
		}}
		six, err := only.Listen(t.Context(), "tcp6", "[::]:82")
		if err != nil {
			return err
		}
		t.Cleanup(func() { six.Close() })
		return nil
	})
	for _, tt := range []struct {
		name    string
		port    uint16
		accepts string
		want    bool
	}{
		{"the address itself", port, "127.0.0.1", true},
		{"another address", port, "10.0.0.1", false},
		{"another port", port + 1, "127.0.0.1", false},
		{"all addresses, dual stack", 81, "10.0.0.1", true},
		{"all addresses, of IPv6 only", 82, "10.0.0.1", false},
		{"an address of IPv6", 82, "::1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Listening(ns, tt.port)
			if err != nil {
				t.Fatal(err)
			}
			if _, a := Accepting(got, netip.MustParseAddr(tt.accepts)); a != tt.want {
				t.Errorf("listening at %v accepts %s: %v, want %v", got, tt.accepts, a, tt.want)
			}
		})
	}
	if _, err := Listening("twtest-no-such", 1); err == nil {
		t.Error("no error for a namespace that does not exist")
	}
}

// A queue that nobody empties fills, and the kernel says how far.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	ns := nettest.Netns(t)
	nettest.SetUp(t, ns, "lo", true)
	l := nettest.DeafListener(t, ns, netip.MustParseAddrPort("127.0.0.1:83"), 1)
	for range 2 { // one more than it is told, as the kernel counts
		got, err := Listening(ns, 83)
		if err != nil || len(got) != 1 || got[0].Full() || got[0].Most != 1 {
			t.Fatalf("not full yet: %+v, %v", got, err)
		}
		l.Fill(1)
	}
	nettest.Eventually(t, "full", func() bool {
		got, err := Listening(ns, 83)
		return err == nil && len(got) == 1 && got[0].Full()
	})
}

func TestAccepting(t *testing.T) {
	v4, v6, lo := netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("127.0.0.1")
	for name, c := range map[string]struct {
		all  []Listener
		want uint32 // its queue; 99: none
	}{
		"none":                          {nil, 99},
		"another address":               {[]Listener{{Addr: netip.MustParseAddr("127.0.0.2")}}, 99},
		"the address before all":        {[]Listener{{Addr: v4, Waiting: 9}, {Addr: lo, Waiting: 1}}, 1},
		"the address before all, first": {[]Listener{{Addr: lo, Waiting: 1}, {Addr: v4, Waiting: 9}}, 1},
		"the longest of several":        {[]Listener{{Addr: lo, Waiting: 1}, {Addr: lo, Waiting: 5}, {Addr: lo, Waiting: 2}}, 5},
		"both families":                 {[]Listener{{Addr: v6, Waiting: 3}}, 3},
		"the other family":              {[]Listener{{Addr: v6, Only6: true}}, 99},
	} {
		l, ok := Accepting(c.all, lo)
		if ok != (c.want != 99) || ok && l.Waiting != c.want {
			t.Errorf("%s: %+v, %v", name, l, ok)
		}
	}
}
