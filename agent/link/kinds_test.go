package link

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

func named(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// makeKinds makes a link of each kind that may be taken for a tap, or is one.
func makeKinds(t *testing.T, ns string) {
	t.Helper()
	nettest.In(t, ns, func() error {
		veth := &netlink.Veth{LinkAttrs: named("tap0"), PeerName: "peer0"}
		bridge := &netlink.Bridge{LinkAttrs: named("br0")}
		for _, l := range []netlink.Link{
			veth, bridge,
			&netlink.Tuntap{LinkAttrs: named("vpn0"), Mode: netlink.TUNTAP_MODE_TUN},
			&netlink.Tuntap{LinkAttrs: named("wg0"), Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR | netlink.TUNTAP_MULTI_QUEUE, Queues: 1},
			&netlink.Tuntap{LinkAttrs: named("port0"), Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI},
			&netlink.Ifb{LinkAttrs: named("ifb-tap0")},
		} {
			if err := netlink.LinkAdd(l); err != nil {
				return fmt.Errorf("add %s: %w", l.Attrs().Name, err)
			}
			if tap, ok := l.(*netlink.Tuntap); ok {
				for _, f := range tap.Fds {
					f.Close()
				}
			}
		}
		lower, err := netlink.LinkByName("peer0")
		if err != nil {
			return err
		}
		macvtap := &netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: named("vm0"), Mode: netlink.MACVLAN_MODE_BRIDGE}}
		macvtap.ParentIndex = lower.Attrs().Index
		if err := netlink.LinkAdd(macvtap); err != nil {
			return fmt.Errorf("add macvtap: %w", err)
		}
		port, err := netlink.LinkByName("port0")
		if err != nil {
			return err
		}
		// Up, for the kernel sends no event for what the tun driver changes while down.
		return errors.Join(netlink.LinkSetMaster(port, bridge), setAllUp())
	})
}

// setAllUp brings up every link of the calling thread's namespace.
func setAllUp() error {
	ls, err := netlink.LinkList()
	for _, l := range ls {
		err = errors.Join(err, netlink.LinkSetUp(l))
	}
	return err
}

// What a link is, is known in the agent's own namespace and in others, from events
// and from dumps alike.
func TestKinds(t *testing.T) {
	for _, own := range []bool{true, false} {
		for _, event := range []bool{true, false} {
			t.Run(fmt.Sprintf("own=%v,event=%v", own, event), func(t *testing.T) {
				ns := nettest.Netns(t)
				if !event {
					makeKinds(t, ns)
				}
				host := ns
				if !own {
					host = nettest.Netns(t)
				}
				w := startIn(t, host, Config{Audit: -1}, false)
				c := w.add(ns)
				nettest.Eventually(t, "the namespace known", func() bool { _, known := w.Taps(c); return known })
				if event {
					makeKinds(t, ns)
				}
				checkKinds(t, w, c)
			})
		}
	}
}

func checkKinds(t *testing.T, w *watch, c netns.Cookie) {
	t.Helper()
	up := func(l Link) bool { return l.AdminUp && (l.Tun.Mode == TunUnknown || l.Tun.Persistent) }
	bridge, lower := w.until(c, "br0", "up", up), w.until(c, "peer0", "up", up)
	for _, want := range []Link{
		{Name: "tap0", Kind: "veth", Peer: lower.Ifindex},
		{Name: "ifb-tap0", Kind: "ifb"},
		{Name: "br0", Kind: "bridge"},
		{Name: "lo"},
		{Name: "vpn0", Kind: "tun", Tun: Tun{Mode: TunIP, Persistent: true}},
		{Name: "wg0", Kind: "tun", Tun: Tun{Mode: TunTap, Persistent: true, MultiQueue: true, VnetHdr: true}},
		{Name: "port0", Kind: "tun", Tun: Tun{Mode: TunTap, Persistent: true}, Master: bridge.Ifindex},
		{Name: "vm0", Kind: "macvtap", Peer: lower.Ifindex},
	} {
		l := w.until(c, want.Name, "up", up)
		if l.Kind != want.Kind || l.Tun != want.Tun || l.Master != want.Master || l.Peer != want.Peer || l.PeerNSID != netns.NoNSID {
			t.Errorf("%s is %+v, want %+v", want.Name, l, want)
		}
		got, known := byName(w.In(c), want.Name)
		if !known || got == nil || got.Ifindex != l.Ifindex {
			t.Errorf("%s is found as %+v", want.Name, got)
		}
		if same, ok := w.Get(got.Key()); !ok || same.Name != want.Name {
			t.Errorf("number %d is %+v", l.Ifindex, same)
		}
		if peer, known := w.Peer(got); !known || (peer == nil) != (want.Peer == 0) || peer != nil && peer.Ifindex != want.Peer {
			t.Errorf("the peer of %s is %+v", want.Name, peer)
		}
	}
	var names []string
	taps, known := w.Taps(c)
	for _, l := range taps {
		names = append(names, l.Name)
	}
	if want := []string{"wg0", "port0", "vm0"}; !known || !slices.Equal(names, want) {
		t.Errorf("taps %v, want %v", names, want)
	}
}

func TestBridgePortComesAndGoes(t *testing.T) {
	w := start(t, Config{Audit: -1}, false)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	bridge := &netlink.Bridge{LinkAttrs: named("br0")}
	nettest.In(t, ns, func() error { return netlink.LinkAdd(bridge) })
	c := w.add(ns)
	w.until(c, "tap0", "no port", func(l Link) bool { return l.Master == 0 })
	enslave := func(master netlink.Link) {
		nettest.In(t, ns, func() error {
			l, err := netlink.LinkByName("tap0")
			if err != nil {
				return err
			}
			if master == nil {
				return netlink.LinkSetNoMaster(l)
			}
			return netlink.LinkSetMaster(l, master)
		})
	}
	enslave(bridge)
	w.until(c, "tap0", "a port", func(l Link) bool { return l.Master == netns.Ifindex(bridge.Index) })
	enslave(nil)
	w.until(c, "tap0", "no port again", func(l Link) bool { return l.Master == 0 })
	for _, change := range w.of(c) {
		if change.New == nil {
			t.Errorf("a port's leaving of its bridge is told as the end of %s", change.Old.Name)
		}
	}
}

// A veth that is made while its namespace is watched: its event numbers the
// peer's namespace as its own namespace does, and the answer as we do.
func TestPeerOfANewVeth(t *testing.T) {
	w := start(t, Config{Audit: -1}, false)
	ns := nettest.Netns(t)
	c := w.add(ns)
	nettest.Eventually(t, "the namespace known", func() bool { _, known := w.Taps(c); return known })
	host := nettest.Veth(t, ns)
	self, err := netns.CookieOf("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "both ends know each other", func() bool {
		inner, _ := byName(w.In(c), "eth0")
		outer, _ := byName(w.In(self), host)
		if inner == nil || outer == nil {
			return false
		}
		out, _ := w.Peer(inner)
		in, _ := w.Peer(outer)
		return out != nil && out.Name == host && in != nil && in.Netns == c && in.Name == "eth0"
	})
}
