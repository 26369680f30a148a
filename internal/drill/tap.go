package drill

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
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
