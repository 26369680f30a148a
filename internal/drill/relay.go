package drill

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/vmm"
)

// What can be wrong in the namespace, between the veth pair and the tap.
var relayFaults = []Fault{
	{
		Name: "relay-dead", What: "the relay is gone",
		Hop: path.Relay, Expected: "relay-not-listening",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return b.Manager.StopRelay(b.ID)
		},
	},
	{
		Name: "relay-wrong-address", What: "the relay listens on 127.0.0.1 of the namespace",
		Hop: path.Relay, Expected: "relay-wrong-address",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			restart, err := b.Manager.StopRelay(b.ID)
			if err != nil {
				return nil, err
			}
			ln, err := listenIn(ctx, b.Slot.Netns(), net.JoinHostPort("127.0.0.1", strconv.Itoa(e2b.EnvdPort)))
			if err != nil {
				return nil, err
			}
			return func() error { return joinNotNil(ln.Close(), restart()) }, nil
		},
	},
	{
		Name: "relay-stopped", What: "the relay is a process of its own, and gets SIGSTOP",
		Hop: path.Relay, Expected: "relay-not-accepting",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			return b.otherRelay(ctx, func(p *program) (func(), error) { return func() {}, p.signal(syscall.SIGSTOP) })
		},
	},
	{
		Name: "relay-no-files", What: "the relay is a process of its own, and may open no more files than it has",
		Hop: path.Relay, Expected: "relay-fd-limit",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			return b.otherRelay(ctx, func(p *program) (func(), error) { return p.starve(ctx, b.door()) })
		},
	},
	{
		Name: "veth-down", What: "somebody sets the host's end of the veth pair down",
		Hop: path.Relay, Expected: "veth-down",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return vethDown(b.Slot.HostVeth())
		},
	},
	{
		Name: "dnat-rule-gone", What: "the path is by DNAT instead of a relay, and somebody flushes the namespace's rules",
		Hop: path.Relay, Expected: "dnat-missing",
		Launch: func(_ *World, req *sandbox.CreateRequest) (func(), error) {
			req.Path = registry.DNAT
			req.Alter = func(s *vmm.Spec) error { return rules(s.Netns, func(c *nftables.Conn) { c.FlushRuleset() }) }
			return nil, nil
		},
	},
	{
		Name: "ip-forward-off", What: "the path is by DNAT instead of a relay, and ip_forward is 0 in the namespace",
		Hop: path.Relay, Expected: "ip-forward-off",
		Launch: func(_ *World, req *sandbox.CreateRequest) (func(), error) {
			req.Path = registry.DNAT
			req.Alter = func(s *vmm.Spec) error { return setForward(s.Netns, false) }
			return nil, nil
		},
	},
	{
		Name: "forward-policy", What: "the path is by DNAT instead of a relay, and a chain of the namespace forwards nothing",
		Hop: path.Relay, Expected: "rule-drops",
		Launch: func(_ *World, req *sandbox.CreateRequest) (func(), error) {
			req.Path = registry.DNAT
			req.Alter = func(s *vmm.Spec) error {
				_, err := addRule(s.Netns, at(nftables.TableFamilyIPv4, nftables.ChainHookForward), drop)
				return err
			}
			return nil, nil
		},
	},
}

// door is where the sandbox's relay listens.
func (b *Box) door() string {
	return net.JoinHostPort(b.Slot.VpeerIP().String(), strconv.Itoa(e2b.EnvdPort))
}

// listenIn listens inside a namespace.
func listenIn(ctx context.Context, ns, addr string) (ln net.Listener, err error) {
	err = netns.Do(ns, func() error {
		var lc net.ListenConfig
		ln, err = lc.Listen(ctx, "tcp", addr)
		return err
	})
	return ln, err
}

// vethDown sets a link of the host down. With it go its routes, which undo adds
// again.
func vethDown(name string) (undo func() error, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("read routes of %s: %w", name, err)
	}
	if err := netlink.LinkSetDown(link); err != nil {
		return nil, fmt.Errorf("set %s down: %w", name, err)
	}
	return func() error {
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
		for _, r := range routes {
			if err := netlink.RouteReplace(&r); err != nil {
				return fmt.Errorf("route %v again: %w", r.Dst, err)
			}
		}
		return nil
	}, nil
}
