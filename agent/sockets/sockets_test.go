package sockets

import (
	"net"
	"net/netip"
	"testing"

	"tapwatch/internal/nettest"

	"github.com/vishvananda/netlink"
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
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Listening(ns, tt.port)
			if err != nil {
				t.Fatal(err)
			}
			if a := Accepts(got, netip.MustParseAddr(tt.accepts)); a != tt.want {
				t.Errorf("listening at %v accepts %s: %v, want %v", got, tt.accepts, a, tt.want)
			}
		})
	}
	if _, err := Listening("twtest-no-such", 1); err == nil {
		t.Error("no error for a namespace that does not exist")
	}
}
