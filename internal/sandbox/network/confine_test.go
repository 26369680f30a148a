package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// host stands for a host with a launcher and some slots: a namespace of its own, so
// that its rules, its forwarding and its addresses are the test's. Slots are made in it.
type host struct {
	ns    string
	slots []Slot
	guest []string // namespaces of the guests, by slot
}

// public is an address of the host as the Internet knows it; beyond is one on the
// Internet behind it; hidden one of a private network behind the host.
var (
	public = netip.MustParseAddr("198.51.100.1")
	beyond = netip.MustParseAddr("203.0.113.9")
	hidden = netip.MustParseAddr("192.168.77.9")
	cloud  = netip.MustParseAddr("169.254.169.254")
)

// newHost makes n slots with a guest each, guards the host, and has whoever connects
// to port 80 or 49983 of any of its addresses, of the guests' and of the outside's answered.
func newHost(t *testing.T, n int) *host {
	t.Helper()
	h := &host{ns: nettest.Netns(t)}
	first := freeRun(t, n)
	nettest.In(t, h.ns, func() error {
		if err := guardHost(); err != nil {
			return err
		}
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer nl.Close()
		err = os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
		for _, a := range []netip.Addr{public, cloud} {
			_, aerr := raise(nl, "lo", ipNet(a, 32))
			err = errors.Join(err, aerr)
		}
		for i := range n {
			s := Slot{first.Index + i}
			h.slots = append(h.slots, s)
			err = errors.Join(err, makeNamespace(s), makeVeth(s), furnish(s), addressHost(s))
		}
		return err
	})
	h.behind(t)
	for _, s := range h.slots {
		guest := nettest.Guest(t, s.Netns(), s.Tap(), s.GuestMAC(), s.GuestIP().AsSlice(), s.TapIP().AsSlice())
		h.guest = append(h.guest, guest)
		answer(t, guest, "0.0.0.0")
		answer(t, s.Netns(), "0.0.0.0") // whoever listens in the slot's namespace, on every address
	}
	answer(t, h.ns, "0.0.0.0")
	return h
}

// behind is a namespace behind the host: the Internet, and a private network.
func (h *host) behind(t *testing.T) {
	t.Helper()
	far := nettest.Netns(t)
	nettest.In(t, h.ns, func() error {
		f, err := os.Open(netns.Path(far))
		if err != nil {
			return err
		}
		defer f.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "wan"
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wan", PeerNamespace: netlink.NsFd(f.Fd())})
		if err != nil {
			return err
		}
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer nl.Close()
		wan, err := raise(nl, "wan", ipNet(netip.MustParseAddr("198.51.100.2"), 31))
		return errors.Join(err,
			nl.RouteAdd(&netlink.Route{LinkIndex: wan, Dst: ipNet(beyond, 32), Gw: net.IPv4(198, 51, 100, 3)}),
			nl.RouteAdd(&netlink.Route{LinkIndex: wan, Dst: ipNet(hidden, 32), Gw: net.IPv4(198, 51, 100, 3)}))
	})
	nettest.In(t, far, func() error {
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer nl.Close()
		_, lo := raise(nl, "lo", nil)
		wan, err := raise(nl, "wan", ipNet(netip.MustParseAddr("198.51.100.3"), 31))
		err = errors.Join(lo, err, nl.RouteAdd(&netlink.Route{LinkIndex: wan, Gw: net.IPv4(198, 51, 100, 2)}))
		for _, a := range []netip.Addr{beyond, hidden} {
			_, aerr := raise(nl, "wan", ipNet(a, 32))
			err = errors.Join(err, aerr)
		}
		return err
	})
	for _, a := range []netip.Addr{beyond, hidden} {
		answer(t, far, a.String()) // by it alone, so that datagrams come back from it
	}
}

// answer accepts connections on ports 80 and 49983, and sends datagrams to port 80 back.
func answer(t *testing.T, ns, addr string) {
	t.Helper()
	var listeners []net.Listener
	var udp net.PacketConn
	nettest.In(t, ns, func() error {
		for _, port := range []string{"80", "49983"} {
			l, err := net.Listen("tcp4", net.JoinHostPort(addr, port))
			if err != nil {
				return err
			}
			listeners = append(listeners, l)
		}
		var err error
		udp, err = net.ListenPacket("udp4", net.JoinHostPort(addr, "80"))
		return err
	})
	for _, l := range listeners {
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	}
	t.Cleanup(func() { udp.Close() })
	go func() {
		b := make([]byte, 16)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(b[:n], from) // the test judges
		}
	}()
}

// reaches says whether somebody answers what is sent from inside a namespace.
func reaches(t *testing.T, ns, network string, to netip.AddrPort) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	var c net.Conn
	err := netns.Do(ns, func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, network, to.String())
		return err
	})
	if err != nil {
		return false
	}
	defer c.Close()
	if network == "tcp4" {
		return true
	}
	err = c.SetDeadline(time.Now().Add(700 * time.Millisecond))
	if err == nil {
		_, err = c.Write([]byte("x"))
	}
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	return err == nil
}

// A guest reaches nothing but who asks it: not its slot's relay, no port of its slot
// or of the host at any address, no other guest, no private network, no metadata
// service. The Internet is there for who may have it.
func TestGuestIsConfined(t *testing.T) {
	for _, c := range []struct {
		name           string
		dnat, internet bool
	}{{"relay", false, true}, {"dnat", true, true}, {"dnat without internet", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, 2)
			own, other := h.slots[0], h.slots[1]
			if c.dnat {
				for _, s := range h.slots {
					if err := EnableDNAT(s, c.internet); err != nil {
						t.Fatal(err)
					}
				}
			}
			var tries sync.WaitGroup
			for what, to := range map[string]netip.Addr{
				"its own relay": own.VpeerIP(), "its gateway": own.TapIP(), "its own host address": own.HostIP(), "its host": own.VethIP(),
				"the host's public address": public, "another slot's relay": other.VpeerIP(), "another slot's host side": other.VethIP(),
				"another guest": other.HostIP(), "a private network": hidden, "the metadata service": cloud,
			} {
				tries.Go(func() {
					for _, port := range []uint16{80, e2b.EnvdPort} {
						if reaches(t, h.guest[0], "tcp4", netip.AddrPortFrom(to, port)) {
							t.Errorf("the guest reaches %s, %s:%d", what, to, port)
						}
					}
					if reaches(t, h.guest[0], "udp4", netip.AddrPortFrom(to, 80)) {
						t.Errorf("the guest reaches %s, %s:80 by UDP", what, to)
					}
				})
			}
			tries.Wait()
			for _, network := range []string{"tcp4", "udp4"} {
				if got := reaches(t, h.guest[0], network, netip.AddrPortFrom(beyond, 80)); got != (c.dnat && c.internet) {
					t.Errorf("the guest reaches the Internet by %s: %v", network, got)
				}
			}
			// And it answers who may ask.
			if !reaches(t, own.Netns(), "tcp4", netip.AddrPortFrom(own.GuestIP(), e2b.EnvdPort)) {
				t.Error("the relay does not reach the guest")
			}
			if !reaches(t, h.ns, "tcp4", netip.AddrPortFrom(own.VpeerIP(), e2b.EnvdPort)) {
				t.Error("the proxy does not reach the relay")
			}
			if c.dnat && !reaches(t, h.ns, "tcp4", netip.AddrPortFrom(own.HostIP(), e2b.EnvdPort)) {
				t.Error("the proxy does not reach the guest")
			}
		})
	}
}

// The host's own rules hold where the slot's are gone, as where a VMM was broken out of.
func TestHostIsGuarded(t *testing.T) {
	h := newHost(t, 2)
	own, other := h.slots[0], h.slots[1]
	for _, s := range h.slots {
		if err := EnableDNAT(s, true); err != nil {
			t.Fatal(err)
		}
	}
	for what, to := range map[string]netip.Addr{"its host": own.VethIP(), "the host's public address": public, "another slot": other.VpeerIP(),
		"another guest": other.HostIP(), "a private network": hidden, "the metadata service": cloud} {
		if reaches(t, own.Netns(), "tcp4", netip.AddrPortFrom(to, 80)) {
			t.Errorf("the slot reaches %s, %s", what, to)
		}
	}
	if !reaches(t, own.Netns(), "tcp4", netip.AddrPortFrom(beyond, 80)) {
		t.Error("the slot does not reach the Internet")
	}
}

// Frames with another sender than the guest do not come in, whatever they carry.
func TestSenderIsNotForged(t *testing.T) {
	for name, forge := range map[string]func(eth0 netlink.Link) error{
		"nothing": func(netlink.Link) error { return nil },
		"hardware address": func(eth0 netlink.Link) error {
			return netlink.LinkSetHardwareAddr(eth0, net.HardwareAddr{2, 0xfc, 0, 0, 0, 9})
		},
		"address": func(eth0 netlink.Link) error {
			return errors.Join(netlink.AddrDel(eth0, &netlink.Addr{IPNet: ipNet(e2b.GuestIP(), 30)}),
				netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(netip.MustParseAddr("169.254.0.25"), 24)}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, 1)
			s := h.slots[0]
			nettest.In(t, h.guest[0], func() error {
				eth0, err := netlink.LinkByName("eth0")
				if err != nil {
					return err
				}
				return forge(eth0)
			})
			_ = netns.Do(h.guest[0], func() error { // whatever says that
				c, err := net.Dial("udp4", netip.AddrPortFrom(s.TapIP(), 9).String())
				if err != nil {
					return err
				}
				defer c.Close()
				for range 5 {
					_, _ = c.Write([]byte("x"))
					time.Sleep(20 * time.Millisecond)
				}
				return nil
			})
			if got, want := neighbourOf(t, s), name == "nothing"; got != want {
				t.Errorf("the slot has heard the guest: %v, want %v", got, want)
			}
		})
	}
}

// neighbourOf says whether the slot's kernel has learned a hardware address at its tap.
func neighbourOf(t *testing.T, s Slot) (heard bool) {
	t.Helper()
	nettest.In(t, s.Netns(), func() error {
		tap, err := netlink.LinkByName(s.Tap())
		if err != nil {
			return err
		}
		list, err := netlink.NeighList(tap.Attrs().Index, netlink.FAMILY_V4)
		for _, n := range list {
			heard = heard || len(n.HardwareAddr) == 6
		}
		return err
	})
	return heard
}

// The host's rules go with the last slot of their launcher, and not before.
func TestGuardsGoWithTheirLauncher(t *testing.T) {
	nettest.In(t, nettest.Netns(t), func() error {
		if err := guardHost(); err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Group = "veth-x", groupOf(os.Getpid())
		link := &netlink.Veth{LinkAttrs: attrs, PeerName: "vpeer-x"}
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
		if removed, err := RemoveGuards(); err != nil || len(removed) != 0 {
			return fmt.Errorf("with a slot there: removed %v, %w", removed, err)
		}
		if err := netlink.LinkDel(link); err != nil {
			return err
		}
		if removed, err := RemoveGuards(); err != nil || len(removed) != 1 || !strings.HasPrefix(removed[0], guardPrefix) {
			return fmt.Errorf("removed %v, %w", removed, err)
		}
		return nil
	})
}

func TestAfter(t *testing.T) {
	for prefix, want := range map[string]string{"10.0.0.0/8": "11.0.0.0", "192.0.0.0/24": "192.0.1.0", "198.18.0.0/15": "198.20.0.0", "224.0.0.0/3": "invalid IP"} {
		if got := after(netip.MustParsePrefix(prefix)); got.String() != want {
			t.Errorf("after %s: %s, want %s", prefix, got, want)
		}
	}
}
