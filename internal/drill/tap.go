package drill

import (
	"context"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox/network"
)

// What can be wrong with the tap.
var tapFaults = []Fault{
	{
		Name: "tap-down", What: "somebody sets the tap down",
		Hop: path.Tap, Expected: "tap-down",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return func() error { return b.tap(netlink.LinkSetUp) }, b.tap(netlink.LinkSetDown)
		},
	},
	{
		Name: "tap-deleted", What: "somebody deletes the tap under the VMM",
		Hop: path.Tap, Expected: "tap-missing",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return nil, b.tap(netlink.LinkDel)
		},
	},
	{
		Name: "tap-moved", What: "somebody moves the tap to another namespace",
		Hop: path.Tap, Expected: "tap-elsewhere",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			ns, remove, err := otherNamespace()
			if err != nil {
				return nil, err
			}
			if err := moveLink(b.Slot.Netns(), ns, b.Slot.Tap()); err != nil {
				remove()
				return nil, err
			}
			return func() error { defer remove(); return moveTapBack(b, ns) }, nil
		},
	},
	{
		Name: "mac-changed", What: "somebody gives the tap another hardware address",
		Hop: path.Guest, Expected: "mac-changed",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return func() error { return b.tap(setMAC(e2b.TapMAC)) }, b.tap(setMAC("02:FC:00:00:00:66"))
		},
	},
	{
		Name: "mtu-mismatch", What: "somebody gives the tap an MTU of 1300, its namespace's eth0 keeps 1500",
		Hop: path.Guest, Expected: "mtu-mismatch",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return func() error { return b.tap(setMTU(1500)) }, b.tap(setMTU(1300))
		},
	},
}

func setMTU(mtu int) func(netlink.Link) error {
	return func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) }
}

func setMAC(text string) func(netlink.Link) error {
	return func(l netlink.Link) error {
		mac, err := net.ParseMAC(text)
		if err != nil {
			return err
		}
		return netlink.LinkSetHardwareAddr(l, mac)
	}
}

// moveTapBack brings the tap home. A move takes its address and sets it down.
func moveTapBack(b *Box, from string) error {
	if err := moveLink(from, b.Slot.Netns(), b.Slot.Tap()); err != nil {
		return err
	}
	return b.tap(furnish(b.Slot))
}

// furnish gives a tap the address that it has in a slot, and sets it up.
func furnish(s network.Slot) func(netlink.Link) error {
	return func(l netlink.Link) error {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: s.TapIP().AsSlice(), Mask: net.CIDRMask(30, 32)}}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}
}

// tap does something to the sandbox's tap, inside its namespace.
func (b *Box) tap(do func(netlink.Link) error) error {
	return inNetns(b.Slot.Netns(), b.Slot.Tap(), do)
}

// inNetns does something to a link of a namespace.
func inNetns(ns, name string, do func(netlink.Link) error) error {
	return netns.Do(ns, func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", name, ns, err)
		}
		if err := do(link); err != nil {
			return fmt.Errorf("change %s in %s: %w", name, ns, err)
		}
		return nil
	})
}
