package inspect

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	"tapwatch/agent/filter"
)

// address gives a link of the thread's namespace an address.
func address(t *testing.T, link, addr string) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		t.Fatal(err)
	}
}

// slotLike makes a namespace as a slot has it, and its plan. The host is another
// namespace, so that nothing of the machine's own is touched.
func slotLike(t *testing.T) (host, ns string, p Plan) {
	t.Helper()
	nettest.NeedRoot(t)
	host, ns = nettest.Netns(t), nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	p = Plan{Tap: "tap0", Vpeer: "eth0", HostVeth: "veth-1", Guest: netip.MustParseAddr("169.254.0.21"),
		VpeerAddr: netip.MustParseAddr("10.12.0.3"), Client: netip.MustParseAddr("10.12.0.2"), Port: 49983}
	nettest.In(t, host, func() error {
		to, err := os.Open("/run/netns/" + ns)
		if err != nil {
			return err
		}
		defer to.Close()
		veth := &netlink.Veth{PeerName: "eth0", PeerNamespace: netlink.NsFd(to.Fd())}
		veth.Name = p.HostVeth
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		address(t, p.HostVeth, "10.12.0.2/31")
		return netlink.LinkSetUp(veth)
	})
	nettest.In(t, ns, func() error {
		address(t, "eth0", "10.12.0.3/31")
		address(t, "tap0", "169.254.0.22/30")
		return nil
	})
	for _, l := range []string{"lo", "eth0"} {
		nettest.SetUp(t, ns, l, true)
	}
	nettest.In(t, ns, func() error {
		return netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(10, 12, 0, 2)})
	})
	return host, ns, p
}

// ip does something to a namespace as an operator would.
func ip(t *testing.T, ns string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", append([]string{"-n", ns}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// tc does something to a namespace's qdiscs as an operator would.
func tc(t *testing.T, ns string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tc", append([]string{"-n", ns}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("tc %v: %v: %s", args, err, out)
	}
}

func sysctl(t *testing.T, ns, name, value string) {
	t.Helper()
	nettest.In(t, ns, func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
}

// look is Inside as an agent in the host namespace has it.
func look(t *testing.T, host, ns string, p Plan) (c Close) {
	t.Helper()
	nettest.In(t, host, func() error { c = Inside(ns, p); return nil })
	return c
}

func TestInsideHealthy(t *testing.T) {
	t.Parallel()
	host, ns, p := slotLike(t)
	check := func(shape registry.Shape) {
		t.Helper()
		c := look(t, host, ns, p)
		in := c.Inside
		for name, r := range map[string]path.Route{"to the namespace": in.ToNamespace, "from it": in.FromNamespace, "to the client": in.ToClient,
			"from it ": in.FromClient, "to the guest": in.ToGuest, "from it  ": in.FromGuest} {
			if r.Asked == "" || r.Wrong() || r.Failed != "" || r.SourceRefused {
				t.Errorf("%s, %s: %+v", shape, name, r)
			}
		}
		if in.NoDefault != path.No || len(in.Unread) != 0 || in.ToGuest.Source != "169.254.0.22" {
			t.Errorf("%s: %+v", shape, in)
		}
		if len(in.TapAddrs) != 1 || in.TapAddrs[0] != "169.254.0.22/30" {
			t.Errorf("tap0 has %q", in.TapAddrs)
		}
		if in.Conntrack.Max == 0 || in.Conntrack.NearlyFull() {
			t.Errorf("connections: %+v", in.Conntrack)
		}
		if c.Tun == nil || c.Tun.MultiQueue || !c.Tun.VnetHdr || c.Tun.Owner != nil {
			t.Errorf("the tap is %+v", c.Tun)
		}
		if c.Neighbour == nil || c.Neighbour.State != "none" {
			t.Errorf("the guest is known: %+v", c.Neighbour)
		}
		if in.Qdiscs == nil || len(in.Qdiscs) != 0 || in.Bridge != "" || in.Vpeer == nil || in.Client == nil || in.Ports != nil {
			t.Errorf("%s: %+v", shape, in)
		}
	}
	check(registry.Relay)
	sysctl(t, ns, "ipv4/conf/all/rp_filter", "1") // strict, and all is well
	p.Forwards, p.Host = true, netip.MustParseAddr("10.11.0.1")
	ip(t, host, "route", "add", "10.11.0.1/32", "via", "10.12.0.3", "dev", "veth-1")
	sysctl(t, ns, "ipv4/ip_forward", "1")
	check(registry.DNAT)
}

// A way out is known by the rules of the namespace and of the host, and its routes.
func TestEgress(t *testing.T) {
	nettest.NeedRoot(t)
	as := netip.MustParseAddr("10.11.0.1")
	out := func(t *testing.T, change func(t *testing.T, host, ns string)) (e path.Egress) {
		t.Helper()
		host, ns, p := slotLike(t)
		sysctl(t, host, "ipv4/ip_forward", "1")
		ip(t, host, "link", "add", "wan", "type", "veth", "peer", "name", "far")
		for _, l := range []string{"wan", "far"} {
			ip(t, host, "link", "set", l, "up")
		}
		ip(t, host, "addr", "add", "10.99.0.1/24", "dev", "wan")
		ip(t, host, "route", "add", "default", "via", "10.99.0.2")
		nettest.IptablesLegacy(t, host, "-t", "nat", "-A", "POSTROUTING", "-s", "10.11.0.0/16", "-o", "wan", "-j", "MASQUERADE")
		change(t, host, ns)
		nettest.In(t, host, func() (err error) {
			rules, err := filter.Read()
			if err == nil {
				e, err = Egress(p, as, rules)
			}
			return err
		})
		return e
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, host, ns string)
		is     func(path.Egress) bool
	}{
		"well": {func(*testing.T, string, string) {}, func(e path.Egress) bool {
			return e.HostForwards == path.Yes && e.Route.Device == "wan" && e.Drops != nil && len(e.Drops) == 0 && e.Translated == path.Yes
		}},
		"the host does not forward": {
			func(t *testing.T, host, _ string) { sysctl(t, host, "ipv4/ip_forward", "0") },
			func(e path.Egress) bool { return e.HostForwards == path.No },
		},
		"no default route": {
			func(t *testing.T, host, _ string) { ip(t, host, "route", "del", "default") },
			func(e path.Egress) bool {
				return e.Route.Failed == "network is unreachable" && e.Translated == path.Unknown
			},
		},
		"Docker's policy": {
			func(t *testing.T, host, _ string) { nettest.IptablesLegacy(t, host, "-P", "FORWARD", "DROP") },
			func(e path.Egress) bool {
				return len(e.Drops) == 2 && strings.Contains(e.Drops[0], "chain FORWARD of table filter (iptables-legacy) drops what the guest sends outside, by its policy")
			},
		},
		"Docker's policy, and the launcher's rules": {
			func(t *testing.T, host, _ string) {
				nettest.IptablesLegacy(t, host, "-P", "FORWARD", "DROP")
				nettest.IptablesLegacy(t, host, "-A", "FORWARD", "-i", "veth-1", "-o", "wan", "-j", "ACCEPT")
				nettest.IptablesLegacy(t, host, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
			},
			func(e path.Egress) bool { return len(e.Drops) == 0 },
		},
		"neighbours in one set, as E2B's network v2 has them": {
			func(t *testing.T, host, _ string) { acceptNeighbours(t, host) },
			func(e path.Egress) bool { return e.Drops != nil && len(e.Drops) == 0 },
		},
		"private addresses are dropped outside, where it has another": {
			func(t *testing.T, host, _ string) {
				nettest.IptablesLegacy(t, host, "-t", "raw", "-A", "PREROUTING", "-i", "wan", "-d", "10.11.0.0/16", "-j", "DROP")
			},
			func(e path.Egress) bool { return e.Drops != nil && len(e.Drops) == 0 },
		},
		"nothing masquerades": {
			func(t *testing.T, host, _ string) { nettest.IptablesLegacy(t, host, "-t", "nat", "-F") },
			func(e path.Egress) bool { return e.Translated == path.No },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if e := out(t, c.change); !c.is(e) || e.As != "10.11.0.1" {
				t.Errorf("%+v", e)
			}
		})
	}
}

// acceptNeighbours forwards what three slots beside each other send, by one set of
// ranges that touch, and drops all else.
func acceptNeighbours(t *testing.T, host string) {
	t.Helper()
	nettest.In(t, host, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		drop := nftables.ChainPolicyDrop
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "v2"})
		chain := c.AddChain(&nftables.Chain{Name: "fwd", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop})
		set := &nftables.Set{Table: table, Name: "slots", KeyType: nftables.TypeIPAddr, Interval: true}
		var bounds []nftables.SetElement
		for last := byte(0); last < 3; last++ {
			bounds = append(bounds, nftables.SetElement{Key: []byte{10, 11, 0, last}}, nftables.SetElement{Key: []byte{10, 11, 0, last + 1}, IntervalEnd: true})
		}
		if err := c.AddSet(set, bounds); err != nil {
			return err
		}
		for _, offset := range []uint32{12, 16} { // source, destination
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{2}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
				&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}, &expr.Verdict{Kind: expr.VerdictAccept},
			}})
		}
		return c.Flush()
	})
}

// What leaves the namespace, and as whom, its rules say.
func TestLeavesAs(t *testing.T) {
	t.Parallel()
	as := netip.MustParseAddr("10.11.0.1")
	_, ns, p := slotLike(t)
	leaves := func(want string) {
		t.Helper()
		got, err := LeavesAs(ns, p, as)
		if err != nil || got.IsValid() != (want != "") || got.IsValid() && got.String() != want {
			t.Errorf("as %v, %v: want %q", got, err, want)
		}
	}
	leaves("")
	nettest.IptablesLegacy(t, ns, "-t", "nat", "-A", "POSTROUTING", "-o", "other", "-j", "MASQUERADE")
	leaves("")
	nettest.IptablesLegacy(t, ns, "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-s", "169.254.0.21", "-j", "SNAT", "--to", "10.11.0.1")
	leaves("10.11.0.1")
	nettest.IptablesLegacy(t, ns, "-t", "nat", "-F")
	nettest.IptablesLegacy(t, ns, "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
	leaves(p.VpeerAddr.String())
}

func TestInsideBroken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do    func(t *testing.T, host, ns string, p *Plan)
		wrong func(path.Inside) bool
	}{
		"the tap has no address": {
			func(t *testing.T, _, ns string, _ *Plan) { ip(t, ns, "addr", "flush", "dev", "tap0") },
			func(in path.Inside) bool {
				return in.ToGuest.Wrong() && in.ToGuest.Device == "eth0" && in.TapAddrs != nil && len(in.TapAddrs) == 0
			},
		},
		"its mask leaves the guest out": {
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "addr", "flush", "dev", "tap0")
				ip(t, ns, "addr", "add", "169.254.0.22/32", "dev", "tap0")
			},
			func(in path.Inside) bool { return in.ToGuest.Wrong() && in.TapAddrs[0] == "169.254.0.22/32" },
		},
		"it has another address": {
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "addr", "flush", "dev", "tap0")
				ip(t, ns, "addr", "add", "169.254.0.25/28", "dev", "tap0")
			},
			func(in path.Inside) bool { return !in.ToGuest.Wrong() && in.ToGuest.Source == "169.254.0.25" },
		},
		"no route to the guest": {
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "route", "del", "169.254.0.20/30", "dev", "tap0")
				ip(t, ns, "route", "del", "default")
			},
			func(in path.Inside) bool {
				return in.ToGuest.Wrong() && in.ToGuest.Failed == "network is unreachable" && in.NoDefault == path.Yes
			},
		},
		"no route to the proxy": {
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "route", "del", "default")
				ip(t, ns, "route", "del", "10.12.0.2/31", "dev", "eth0")
			},
			func(in path.Inside) bool { return in.ToClient.Wrong() && in.FromClient.Asked == "" },
		},
		"a blackhole takes the namespace's address": {
			func(t *testing.T, host, _ string, _ *Plan) { ip(t, host, "route", "add", "blackhole", "10.12.0.3/32") },
			func(in path.Inside) bool {
				return in.ToNamespace.Wrong() && strings.Contains(in.ToNamespace.Failed, "blackhole") && len(in.Unread) == 0
			},
		},
		"unreachable and prohibit are answers too": {
			func(t *testing.T, host, ns string, _ *Plan) {
				ip(t, host, "route", "add", "prohibit", "10.12.0.3/32")
				ip(t, ns, "route", "add", "unreachable", "169.254.0.21/32")
			},
			func(in path.Inside) bool {
				return in.ToNamespace.Wrong() && in.ToNamespace.Failed == "permission denied" && in.ToGuest.Wrong() && in.ToGuest.Failed == "no route to host" && len(in.Unread) == 0
			},
		},
		"a route of the host leads elsewhere": {
			func(t *testing.T, host, _ string, _ *Plan) {
				ip(t, host, "link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
				ip(t, host, "link", "set", "vpn1", "up")
				ip(t, host, "link", "set", "vpn0", "up")
				ip(t, host, "route", "add", "10.12.0.3/32", "dev", "vpn0")
			},
			func(in path.Inside) bool { return in.ToNamespace.Wrong() && in.ToNamespace.Device == "vpn0" },
		},
		"a rule of the host, by source": {
			func(t *testing.T, host, _ string, _ *Plan) {
				ip(t, host, "rule", "add", "from", "10.12.0.2", "ipproto", "tcp", "dport", "49983", "prohibit")
			},
			func(in path.Inside) bool {
				return in.ToNamespace.Wrong() && in.ToNamespace.Failed == "permission denied" &&
					in.ToNamespace.Asked == "10.12.0.3 from 10.12.0.2 ipproto tcp sport 45000 dport 49983"
			},
		},
		"the host has the namespace's address": {
			func(t *testing.T, host, _ string, _ *Plan) {
				ip(t, host, "addr", "add", "10.12.0.3/32", "dev", "lo")
			},
			func(in path.Inside) bool { return in.ToNamespace.Wrong() && in.ToNamespace.LocalOn == "lo" },
		},
		"the host has no route to the address that the proxy dials": {
			func(_ *testing.T, _, _ string, p *Plan) { p.Forwards, p.Host = true, netip.MustParseAddr("10.11.0.1") },
			func(in path.Inside) bool {
				return in.ToNamespace.Wrong() && in.ToNamespace.Failed == "network is unreachable"
			},
		},
		"what the namespace answers is taken by a rule of the host": {
			func(t *testing.T, host, _ string, _ *Plan) {
				ip(t, host, "rule", "add", "iif", "veth-1", "blackhole", "prio", "10") // before table local no rule comes
				ip(t, host, "rule", "add", "lookup", "local", "prio", "20")
				ip(t, host, "rule", "del", "lookup", "local", "prio", "0")
			},
			func(in path.Inside) bool {
				return in.FromNamespace.Wrong() && !in.FromNamespace.SourceRefused && len(in.Unread) == 0
			},
		},
		"a rule by source sends answers to the proxy elsewhere": { // and by no other
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "link", "set", "tap0", "up")
				ip(t, ns, "rule", "add", "from", "10.12.0.3", "table", "77", "prio", "50")
				ip(t, ns, "route", "add", "default", "dev", "tap0", "table", "77")
			},
			func(in path.Inside) bool { return in.ToClient.Wrong() && in.ToClient.Device == "tap0" },
		},
		"a rule takes what goes to the guest": {
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "rule", "add", "to", "169.254.0.21", "blackhole", "prio", "10")
			},
			func(in path.Inside) bool {
				return in.ToGuest.Wrong() && strings.Contains(in.ToGuest.Failed, "blackhole")
			},
		},
		"a rule by port takes what the relay sends the guest": {
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "rule", "add", "to", "169.254.0.21", "ipproto", "tcp", "dport", "49983", "unreachable", "prio", "10")
			},
			func(in path.Inside) bool { return in.ToGuest.Wrong() && in.ToGuest.Failed == "network is unreachable" },
		},
		"a rule takes what the guest answers": {
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "rule", "add", "lookup", "local", "prio", "20")
				ip(t, ns, "rule", "add", "iif", "tap0", "blackhole", "prio", "10")
				ip(t, ns, "rule", "del", "lookup", "local", "prio", "0")
			},
			func(in path.Inside) bool {
				return in.FromGuest.Wrong() && !in.FromGuest.SourceRefused && !in.ToGuest.Wrong()
			},
		},
		"another device has the guest's address": {
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "addr", "add", "169.254.0.21/32", "dev", "eth0")
			},
			func(in path.Inside) bool { return in.ToGuest.Wrong() && in.ToGuest.LocalOn == "eth0" },
		},
		"the tap is a port of a bridge, and the bridge has no address": {
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "link", "add", "br0", "type", "bridge")
				ip(t, ns, "link", "set", "br0", "up")
				ip(t, ns, "link", "set", "tap0", "master", "br0")
			},
			func(in path.Inside) bool {
				return in.Bridge == "br0" && in.ToGuest.Wrong() && in.ToGuest.Wants == "br0" && len(in.TapAddrs) == 0 && in.TapAddrs != nil
			},
		},
		"the tap is a port of a bridge that has its address": { // which is right
			func(t *testing.T, _, ns string, _ *Plan) {
				ip(t, ns, "link", "add", "br0", "type", "bridge")
				ip(t, ns, "link", "set", "br0", "up")
				ip(t, ns, "addr", "flush", "dev", "tap0")
				ip(t, ns, "link", "set", "tap0", "master", "br0")
				ip(t, ns, "addr", "add", "169.254.0.22/30", "dev", "br0")
			},
			func(in path.Inside) bool {
				return in.Bridge == "br0" && !in.ToGuest.Wrong() && !in.FromGuest.Wrong() && len(in.TapAddrs) == 1 && len(in.Unread) == 0
			},
		},
		"neighbours for good": {
			func(t *testing.T, host, ns string, _ *Plan) {
				ip(t, host, "neigh", "replace", "10.12.0.3", "lladdr", "02:00:00:00:00:99", "dev", "veth-1", "nud", "permanent")
				ip(t, ns, "neigh", "replace", "10.12.0.2", "lladdr", "02:00:00:00:00:98", "dev", "eth0", "nud", "permanent")
			},
			func(in path.Inside) bool {
				return *in.Vpeer == path.Neighbour{Addr: "10.12.0.3", MAC: "02:00:00:00:00:99", State: "PERMANENT"} &&
					*in.Client == path.Neighbour{Addr: "10.12.0.2", MAC: "02:00:00:00:00:98", State: "PERMANENT"}
			},
		},
		"qdiscs": {
			func(t *testing.T, host, ns string, _ *Plan) {
				for _, on := range [][2]string{{host, "veth-1"}, {ns, "eth0"}, {ns, "tap0"}} {
					tc(t, on[0], "qdisc", "add", "dev", on[1], "root", "tbf", "rate", "8kbit", "burst", "1600", "limit", "3000")
				}
			},
			func(in path.Inside) bool {
				var got []string
				for _, q := range in.Qdiscs {
					if q.Rate != 1000 || q.Burst < 1590 || q.Burst > 1600 || q.Kind != "tbf" {
						return false
					}
					got = append(got, q.Device)
				}
				return slices.Equal(got, []string{"veth-1", "tap0", "eth0"}) && in.Qdiscs[0].Host
			},
		},
		"the guest's answers are refused for their source": {
			func(t *testing.T, _, ns string, p *Plan) {
				// By rule, what comes from tap0 finds no way back by it; the kernel asks for
				// that without a protocol, since no rule for what comes in has one.
				sysctl(t, ns, "ipv4/conf/all/rp_filter", "1")
				ip(t, ns, "link", "add", "other", "type", "veth", "peer", "name", "far")
				ip(t, ns, "link", "set", "far", "up")
				ip(t, ns, "link", "set", "other", "up")
				ip(t, ns, "route", "add", "169.254.0.21/32", "dev", "other", "table", "7")
				ip(t, ns, "rule", "add", "iif", "lo", "ipproto", "tcp", "to", "169.254.0.21", "lookup", "main", "prio", "10")
				ip(t, ns, "rule", "add", "to", "169.254.0.21", "lookup", "7", "prio", "20")
				*p = Plan{Tap: p.Tap, Vpeer: p.Vpeer, Guest: p.Guest, Port: p.Port, Fused: true}
			},
			func(in path.Inside) bool { return in.FromGuest.SourceRefused },
		},
		"the proxy's source is refused": {
			func(t *testing.T, _, ns string, p *Plan) {
				sysctl(t, ns, "ipv4/conf/eth0/rp_filter", "1")
				ip(t, ns, "route", "add", "10.12.0.2/32", "dev", "tap0", "table", "7")
				ip(t, ns, "rule", "add", "iif", "lo", "ipproto", "tcp", "to", "10.12.0.2", "lookup", "main", "prio", "10")
				ip(t, ns, "rule", "add", "to", "10.12.0.2", "lookup", "7", "prio", "20")
			},
			func(in path.Inside) bool {
				return in.FromClient.SourceRefused && in.FromClient.Failed == "invalid cross-device link"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, ns, p := slotLike(t)
			c.do(t, host, ns, &p)
			if in := look(t, host, ns, p).Inside; !c.wrong(in) {
				t.Errorf("got %+v", in)
			}
		})
	}
}

func TestInsideOfNoNamespace(t *testing.T) {
	nettest.NeedRoot(t)
	c := Inside(nettest.RandomName("none"), Plan{Tap: "tap0", Guest: netip.MustParseAddr("169.254.0.21")})
	if len(c.Inside.Unread) != 1 || !strings.Contains(c.Inside.Unread[0].Because, "no such network namespace") || c.Inside.ToGuest.Asked != "" {
		t.Errorf("got %+v", c.Inside)
	}
}

func TestTapOfAnotherOwner(t *testing.T) {
	t.Parallel()
	ns := nettest.Netns(t)
	ip(t, ns, "tuntap", "add", "tap0", "mode", "tap", "user", "4711", "group", "42", "multi_queue")
	c := Inside(ns, Plan{Tap: "tap0", Guest: netip.MustParseAddr("169.254.0.21"), Fused: true})
	if c.Tun == nil || c.Tun.Owner == nil || *c.Tun.Owner != 4711 || *c.Tun.Group != 42 || !c.Tun.MultiQueue || c.Tun.VnetHdr {
		t.Fatalf("got %+v", c.Tun)
	}
	me, err := UserOf(os.Getpid())
	if err != nil || me.UID != 0 || me.NetAdmin != path.Yes || me.MayOpen(*c.Tun) != path.Yes {
		t.Errorf("root: %+v, %v", me, err)
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "100")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{42}}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	nobody, err := UserOf(cmd.Process.Pid)
	if err != nil || nobody.UID != 65534 || nobody.NetAdmin != path.No || nobody.MayOpen(*c.Tun) != path.No {
		t.Errorf("nobody: %+v, %v", nobody, err)
	}
	*c.Tun.Owner = 65534
	if nobody.MayOpen(*c.Tun) != path.Yes {
		t.Errorf("its owner, of its group, may not open it")
	}
	if half, err := parseStatus([]byte("Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n")); err == nil {
		t.Errorf("half a status was read: %+v", half)
	}
}

// A neighbour that the guest is not.
func TestNeighbour(t *testing.T) {
	t.Parallel()
	_, ns, p := slotLike(t)
	ip(t, ns, "neigh", "add", "169.254.0.21", "lladdr", "02:fc:00:00:00:77", "dev", "tap0", "nud", "permanent")
	c := Inside(ns, p)
	if c.Neighbour == nil || *c.Neighbour != (path.Neighbour{Addr: "169.254.0.21", MAC: "02:fc:00:00:00:77", State: "PERMANENT"}) {
		t.Errorf("got %+v", c.Neighbour)
	}
}
