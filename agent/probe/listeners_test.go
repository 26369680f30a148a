package probe

import (
	"net"
	"slices"
	"testing"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// Sockets of other namespaces are listed without entering them, each with its
// own address; one that is closed or merely connected is not.
func TestListenersOfAllNamespaces(t *testing.T) {
	p := load(t)
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
		ls, err := p.Listeners()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(ls, Listener{ns, a.(*net.TCPAddr).AddrPort()})
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
