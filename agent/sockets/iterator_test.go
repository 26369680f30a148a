package sockets

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

func loadIterator(t *testing.T) *Iterator {
	t.Helper()
	nettest.NeedRoot(t)
	it, err := LoadIterator()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := it.Close(); err != nil {
			t.Error(err)
		}
	})
	return it
}

// Sockets of other namespaces are listed without entering them, each with its
// own address; one that is closed or merely connected is not.
func TestListenersOfAllNamespaces(t *testing.T) {
	it := loadIterator(t)
	ns := nettest.Netns(t)
	inside, err := netns.CookieOf(ns)
	if err != nil {
		t.Fatal(err)
	}
	outside, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	var config net.ListenConfig // of TCP and of MPTCP, as Go's are by default, in turn
	listen := func(addr string) net.Listener {
		config.SetMultipathTCP(!config.MultipathTCP())
		l, err := config.Listen(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	var all, closed net.Listener
	nettest.In(t, ns, func() error {
		all, closed = listen("[::]:0"), listen("0.0.0.0:0")
		return nil
	})
	one := listen("127.0.0.1:0")
	c, err := net.Dial("tcp", one.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	has := func(ns netns.Cookie, a net.Addr) bool {
		t.Helper()
		ls, err := it.All(nil)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(ls, func(l Found) bool {
			return l.Netns == ns && netip.AddrPortFrom(l.Addr, l.Port) == a.(*net.TCPAddr).AddrPort() && l.PID == os.Getpid() && l.Most > 0 && !l.Only6
		})
	}
	for _, want := range []struct {
		ns netns.Cookie
		l  net.Listener
	}{{inside, all}, {inside, closed}, {outside, one}} {
		if !has(want.ns, want.l.Addr()) {
			t.Errorf("no %s in namespace %d", want.l.Addr(), want.ns)
		}
	}
	if has(outside, c.LocalAddr()) {
		t.Error("a connected socket is listed")
	}
	addr := closed.Addr()
	closed.Close()
	if has(inside, addr) {
		t.Error("a closed socket is listed")
	}
}

// The queue of a socket that nobody accepts from is as long as it is, of TCP and of
// MPTCP; and one of IPv6 alone says so.
func TestListenersQueues(t *testing.T) {
	it := loadIterator(t)
	ns := nettest.Netns(t)
	inside, err := netns.CookieOf(ns)
	if err != nil {
		t.Fatal(err)
	}
	nettest.SetUp(t, ns, "lo", true)
	deaf := nettest.DeafListener(t, ns, netip.MustParseAddrPort("127.0.0.1:81"), 1)
	deaf.Fill(2)
	var mptcp net.ListenConfig
	mptcp.SetMultipathTCP(true)
	nettest.In(t, ns, func() error {
		l, err := mptcp.Listen(t.Context(), "tcp", "127.0.0.1:82") // Go accepts when it is asked to
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		for range 3 {
			c, err := net.Dial("tcp", "127.0.0.1:82")
			if err != nil {
				return err
			}
			t.Cleanup(func() { c.Close() })
		}
		only := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) })
		}}
		six, err := only.Listen(t.Context(), "tcp6", "[::]:83")
		if err == nil {
			t.Cleanup(func() { six.Close() })
		}
		return err
	})
	of := func(port uint16) (found Found) {
		ls, err := it.All(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range ls {
			if l.Netns == inside && l.Port == port {
				found = l
			}
		}
		return found
	}
	nettest.Eventually(t, "a full queue", func() bool { return of(81).Waiting == 2 && of(81).Most == 1 })
	nettest.Eventually(t, "three that wait", func() bool { return of(82).Waiting == 3 && of(82).Most > 3 })
	if l := of(83); !l.Only6 || !l.Addr.IsUnspecified() {
		t.Errorf("of IPv6 alone: %+v", l)
	}
}

// Whatever the iterator writes, what is whole is read, and what is cut is an error.
func FuzzListeners(f *testing.F) {
	size := binary.Size(bpf.ListenersListener{})
	f.Add(make([]byte, size))
	f.Add(bytes.Repeat([]byte{1}, 3*size))
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, err := decodeFound(bytes.NewReader(raw), nil)
		if whole := len(raw)%size == 0; whole != (err == nil) || whole && len(found) != len(raw)/size {
			t.Errorf("%d listeners of %d bytes: %v", len(found), len(raw), err)
		}
		for _, l := range found {
			if !l.Addr.IsValid() || l.Addr.Is4In6() {
				t.Errorf("an address that compares with no other: %+v", l)
			}
		}
	})
}
