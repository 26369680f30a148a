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
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/network"
	"tapwatch/internal/sandbox/vmm"
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
		Name: "return-rule", What: "a rule of routing sends what comes from the relay's address to another table, and that leads to the tap",
		Hop: path.Relay, Expected: "return-route",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			rule := netlink.NewRule()
			rule.Src, rule.Table, rule.Priority = single(b.Slot.VpeerIP()), strictTable, 50
			return b.reroute(func(tap int) netlink.Route { return netlink.Route{Dst: anywhere, LinkIndex: tap, Table: strictTable} }, rule)
		},
	},
	{
		Name: "host-rule", What: "a rule of the host's routing forbids what goes to the namespace from its own address, by TCP",
		Hop: path.Relay, Expected: "host-route",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			rule := netlink.NewRule()
			rule.Src, rule.Dst, rule.Priority, rule.Type, rule.IPProto = single(b.Slot.VethIP()), single(b.Slot.VpeerIP()), 50, unix.FR_ACT_PROHIBIT, unix.IPPROTO_TCP
			return func() error { return netlink.RuleDel(rule) }, netlink.RuleAdd(rule)
		},
	},
	{
		Name: "input-rule", What: "a rule of routing drops what the guest answers, before the local table is asked",
		Hop: path.Relay, Expected: "input-route",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return inputRule(b)
		},
	},
	{
		Name: "host-address-gone", What: "the path is by DNAT instead of a relay, and the host's route to the slot's address is deleted",
		Hop: path.Relay, Expected: "host-route",
		Launch: func(_ *World, req *sandbox.CreateRequest) (func(), error) {
			req.Path = registry.DNAT
			req.Alter = func(s *vmm.Spec) error {
				i, _ := e2b.Index(s.Netns)
				return netlink.RouteDel(&netlink.Route{Dst: single(network.Slot{Index: i}.HostIP())})
			}
			return nil, nil
		},
	},
	{
		Name: "veth-neighbour", What: "the host gets a permanent neighbour entry with another hardware address than the namespace's eth0",
		Hop: path.Relay, Expected: "veth-neighbour",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return neighbour("", b.Slot.HostVeth(), b.Slot.VpeerIP())
		},
	},
	{
		Name: "vpeer-neighbour", What: "the namespace gets a permanent neighbour entry with another hardware address than the host's end of the veth pair",
		Hop: path.Relay, Expected: "veth-neighbour",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return neighbour(b.Slot.Netns(), e2b.Vpeer, b.Slot.VethIP())
		},
	},
	{
		Name: "veth-no-arp", What: "somebody switches ARP off on the host's end of the veth pair",
		Hop: path.Relay, Expected: "veth-neighbour",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return noARP("", b.Slot.HostVeth())
		},
	},
	{
		Name: "veth-slow", What: "a tbf on the namespace's eth0 lets through 8 kbit/s",
		Hop: path.Relay, Expected: "veth-qdisc",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return slowly(b.Slot.Netns(), e2b.Vpeer)
		},
	},
	{
		Name: "no-ports", What: "all ports of the namespace's range are reserved, so that the relay gets none",
		Hop: path.Relay, Expected: "relay-no-ports",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			set := func(value string) error {
				return netns.Do(b.Slot.Netns(), func() error {
					return os.WriteFile("/proc/sys/net/ipv4/ip_local_reserved_ports", []byte(value), 0o644)
				})
			}
			return func() error { return set("\n") }, set("1024-65535")
		},
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
	{
		Name: "guest-rule", What: "a rule of routing in the namespace is a blackhole for what goes to the guest",
		Hop: path.Tap, Expected: "guest-route",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			rule := netlink.NewRule()
			rule.Dst, rule.Priority, rule.Type = single(b.Slot.GuestIP()), 10, unix.FR_ACT_BLACKHOLE
			return b.reroute(nil, rule)
		},
	},
	{
		Name: "guest-address-taken", What: "another device of the namespace gets the guest's address",
		Hop: path.Tap, Expected: "guest-route",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			ns, addr := b.Slot.Netns(), &netlink.Addr{IPNet: single(b.Slot.GuestIP())}
			return func() error {
					return inNetns(ns, e2b.Vpeer, func(l netlink.Link) error { return netlink.AddrDel(l, addr) })
				},
				inNetns(ns, e2b.Vpeer, func(l netlink.Link) error { return netlink.AddrAdd(l, addr) })
		},
	},
	{
		Name: "tap-bridged", What: "somebody makes the tap a port of a bridge, and leaves its address where it is",
		Hop: path.Tap, Expected: "tap-address",
		Make: func(_ context.Context, b *Box) (func() error, error) { return bridged(b) },
	},
	{
		Name: "tap-no-arp", What: "somebody switches ARP off on the tap",
		Hop: path.Tap, Expected: "tap-noarp",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return noARP(b.Slot.Netns(), b.Slot.Tap())
		},
	},
	{
		Name: "tap-slow", What: "a tbf on the tap lets through 8 kbit/s",
		Hop: path.Tap, Expected: "tap-qdisc",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return slowly(b.Slot.Netns(), b.Slot.Tap())
		},
	},
	{
		Name: "neighbour-wrong", What: "the namespace gets a permanent neighbour entry with another hardware address than the guest's",
		Hop: path.Guest, Expected: "guest-mac-mismatch",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return neighbour(b.Slot.Netns(), b.Slot.Tap(), b.Slot.GuestIP())
		},
	},
}

// anywhere is the destination of a default route.
var anywhere = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}

// reroute puts a rule into the sandbox's namespace, and before it the route of its table;
// nil: it needs none.
func (b *Box) reroute(route func(tap int) netlink.Route, rule *netlink.Rule) (undo func() error, err error) {
	undoRoute := func() error { return nil }
	if route != nil {
		var r netlink.Route
		if err := b.tap(func(l netlink.Link) error { r = route(l.Attrs().Index); return nil }); err != nil {
			return nil, err
		}
		if undoRoute, err = addRoute(b.Slot.Netns(), r); err != nil {
			return nil, err
		}
	}
	in := func(do func(*netlink.Rule) error) error {
		return netns.Do(b.Slot.Netns(), func() error { return do(rule) })
	}
	return func() error { return joinNotNil(in(netlink.RuleDel), undoRoute()) }, in(netlink.RuleAdd)
}

// inputRule drops what comes in by the tap. The rule of the local table is asked first
// by default: it is put behind.
func inputRule(b *Box) (undo func() error, err error) {
	local := func(priority int) *netlink.Rule {
		rule := netlink.NewRule()
		rule.Table, rule.Priority = unix.RT_TABLE_LOCAL, priority
		return rule
	}
	drop := netlink.NewRule()
	drop.IifName, drop.Priority, drop.Type = b.Slot.Tap(), 10, unix.FR_ACT_BLACKHOLE
	const behind = 20
	return func() error {
			return netns.Do(b.Slot.Netns(), func() error {
				return joinNotNil(netlink.RuleAdd(local(0)), netlink.RuleDel(drop), netlink.RuleDel(local(behind)))
			})
		}, netns.Do(b.Slot.Netns(), func() error {
			return joinNotNil(netlink.RuleAdd(local(behind)), netlink.RuleAdd(drop), netlink.RuleDel(local(0)))
		})
}

// on does something to a link of a namespace; "" is the host's own.
func on(ns, name string, do func(netlink.Link) error) error {
	if ns != "" {
		return inNetns(ns, name, do)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	return do(link)
}

// neighbour gives a link a permanent entry that is nobody's.
func neighbour(ns, name string, addr netip.Addr) (undo func() error, err error) {
	set := func(do func(*netlink.Neigh) error) error {
		return on(ns, name, func(l netlink.Link) error {
			return do(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 0x99}})
		})
	}
	return func() error { return set(netlink.NeighDel) }, set(netlink.NeighSet)
}

func noARP(ns, name string) (undo func() error, err error) {
	return func() error { return on(ns, name, netlink.LinkSetARPOn) }, on(ns, name, netlink.LinkSetARPOff)
}

// slowly throttles a link, as if somebody had taken bits for kilobits.
func slowly(ns, name string) (undo func() error, err error) {
	const rate = 1000 // bytes a second
	do := func(do func(netlink.Qdisc) error) error {
		return on(ns, name, func(l netlink.Link) error {
			return do(&netlink.Tbf{Rate: rate, Buffer: netlink.Xmittime(rate, 1600), Limit: 3000,
				QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)}})
		})
	}
	return func() error { return do(netlink.QdiscDel) }, do(netlink.QdiscAdd)
}

// bridged makes the sandbox's tap a port of a new bridge without address.
func bridged(b *Box) (undo func() error, err error) {
	const name = "br-drill"
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	err = b.tap(func(l netlink.Link) error {
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		return joinNotNil(netlink.LinkSetUp(bridge), netlink.LinkSetMaster(l, bridge))
	})
	return func() error { return inNetns(b.Slot.Netns(), name, netlink.LinkDel) }, err
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

// strictly makes rp_filter refuse what the guest answers: the way back to it is, by a
// rule, another than what its packets come by. A rule before that spares the TCP that is
// sent; the kernel's question for the way back has no protocol.
func strictly(b *Box) (undo func() error, err error) {
	const file = "/proc/sys/net/ipv4/conf/all/rp_filter"
	tcp, rule := netlink.NewRule(), netlink.NewRule()
	tcp.IifName, tcp.IPProto, tcp.Dst, tcp.Table, tcp.Priority = "lo", unix.IPPROTO_TCP, single(b.Slot.GuestIP()), unix.RT_TABLE_MAIN, 10
	rule.Dst, rule.Table, rule.Priority = single(b.Slot.GuestIP()), strictTable, 20
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
		return in(func() error { return netlink.RuleDel(rule) }, func() error { return netlink.RuleDel(tcp) }, func() error { return netlink.RouteDel(route) }, set("0"))
	}
	return undo, in(set("1"), func() error { return netlink.RouteAdd(route) }, func() error { return netlink.RuleAdd(tcp) }, func() error { return netlink.RuleAdd(rule) })
}
