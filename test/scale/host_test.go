package scale

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/nettest"
)

// portsMost is how many ports a bridge has at most: BR_MAX_PORTS of net/bridge/br_private.h.
const portsMost = 1 << 10

// addHostTaps makes taps that nobody holds in the agent's own namespace, every other one
// on a bridge.
func (f *fleet) addHostTaps(b *testing.B, n int) {
	b.Helper()
	var made []netlink.Link
	b.Cleanup(func() { // before the slots, which wait until no link is left
		for _, l := range made {
			if err := netlink.LinkDel(l); err != nil {
				b.Error(err)
			}
		}
	})
	add := func(l netlink.Link) {
		if err := netlink.LinkAdd(l); err != nil {
			b.Fatal(err)
		}
		made = append(made, l)
	}
	var bridge *netlink.Bridge
	ports := 0
	for i := range n {
		l := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: nettest.RandomName("h"), Flags: net.FlagUp},
			Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_ONE_QUEUE | netlink.TUNTAP_VNET_HDR}
		add(l)
		if i%2 == 1 {
			continue
		}
		if bridge == nil || ports == portsMost-1 {
			bridge, ports = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: nettest.RandomName("b")}}, 0
			add(bridge)
		}
		if err := netlink.LinkSetMaster(l, bridge); err != nil {
			b.Fatal(err)
		}
		ports++
	}
	f.host = n
}
