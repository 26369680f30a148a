package drill

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// What can be wrong with addresses and routes, on the host and in the namespace.
var routeFaults = []Fault{
	{
		Name: "host-route-taken", What: "a blackhole route of the host takes the namespace's address",
		Hop: path.Relay, Expected: "host-route",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return addRoute("", netlink.Route{Type: unix.RTN_BLACKHOLE, Dst: single(b.Slot.VpeerIP())})
		},
	},
	{
		Name: "return-route-taken", What: "the namespace has an unreachable route to the proxy's side of the veth pair",
		Hop: path.Relay, Expected: "return-route",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return addRoute(b.Slot.Netns(), netlink.Route{Type: unix.RTN_UNREACHABLE, Dst: single(b.Slot.VethIP())})
		},
	},
	{
		Name: "default-route-gone", What: "somebody deletes the namespace's default route",
		Hop: path.Relay, Expected: "no-default-route",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			gw := &netlink.Route{Gw: b.Slot.VethIP().AsSlice()}
			ns := b.Slot.Netns()
			return func() error { return netns.Do(ns, func() error { return netlink.RouteAdd(gw) }) },
				netns.Do(ns, func() error {
					return netlink.RouteDel(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Gw: gw.Gw})
				})
		},
	},
	{
		Name: "rp-filter", What: "rp_filter is strict in the namespace, and a rule of routing sends answers to the guest elsewhere",
		Hop: path.Relay, Expected: "rp-filter",
		Make: func(_ context.Context, b *Box) (func() error, error) { return strictly(b) },
	},
	{
		Name: "tap-address-gone", What: "somebody takes the tap's address away",
		Hop: path.Tap, Expected: "tap-address",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			addr := &netlink.Addr{IPNet: &net.IPNet{IP: b.Slot.TapIP().AsSlice(), Mask: net.CIDRMask(30, 32)}}
			return func() error { return b.tap(func(l netlink.Link) error { return netlink.AddrAdd(l, addr) }) },
				b.tap(func(l netlink.Link) error { return netlink.AddrDel(l, addr) })
		},
	},
	{
		Name: "guest-route-taken", What: "the namespace has another route to the guest, by eth0",
		Hop: path.Tap, Expected: "guest-route",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return addRoute(b.Slot.Netns(), netlink.Route{Dst: single(b.Slot.GuestIP()), Gw: b.Slot.VethIP().AsSlice()})
		},
	},
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

// addRoute adds a route in a namespace; "" is the host's own.
func addRoute(ns string, r netlink.Route) (undo func() error, err error) {
	in := func(do func(*netlink.Route) error) func() error {
		return func() error {
			err := func() error { return do(&r) }
			if ns == "" {
				return err()
			}
			return netns.Do(ns, err)
		}
	}
	if err := in(netlink.RouteAdd)(); err != nil {
		return nil, fmt.Errorf("add a route to %s: %w", r.Dst, err)
	}
	return in(netlink.RouteDel), nil
}

// strictTable is a table of routes that nobody else has in a slot of the drill.
const strictTable = 49983

// strictly makes rp_filter refuse what the guest answers: the way back to it is,
// by a rule, another than what its packets come by.
func strictly(b *Box) (undo func() error, err error) {
	const file = "/proc/sys/net/ipv4/conf/all/rp_filter"
	rule := netlink.NewRule()
	rule.Src, rule.Dst, rule.Table = single(b.Slot.TapIP()), single(b.Slot.GuestIP()), strictTable
	route := &netlink.Route{Dst: single(b.Slot.GuestIP()), Gw: b.Slot.VethIP().AsSlice(), Table: strictTable}
	in := func(steps ...func() error) error {
		return netns.Do(b.Slot.Netns(), func() error {
			for _, step := range steps {
				if err := step(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	set := func(value string) func() error {
		return func() error { return os.WriteFile(file, []byte(value), 0o644) }
	}
	undo = func() error {
		return in(func() error { return netlink.RuleDel(rule) }, func() error { return netlink.RouteDel(route) }, set("0"))
	}
	return undo, in(set("1"), func() error { return netlink.RouteAdd(route) }, func() error { return netlink.RuleAdd(rule) })
}
