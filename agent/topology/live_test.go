package topology

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// equal compares what was read, but for numbers of devices.
func equal(t *testing.T, got, want Topology) {
	t.Helper()
	if got.Vpeer.Name != "" && got.Vpeer.Ifindex == 0 || got.Host.Veth != "" && got.Host.Ifindex == 0 {
		t.Errorf("no numbers of %s and %s", got.Vpeer.Name, got.Host.Veth)
	}
	got.Vpeer.Ifindex, got.Host.Ifindex, got.Unread = 0, 0, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// E2B's slots, with both networks in their usual place and elsewhere, and rules of
// either kind: all of it is in the kernel.
func TestE2BSlot(t *testing.T) {
	nettest.NeedRoot(t)
	for name, c := range map[string]struct {
		vrt, host string
		tool      iptables
	}{
		"as usual":       {"10.12", "10.11", nettest.IptablesNFT},
		"moved":          {"10.60", "10.61", nettest.IptablesNFT},
		"moved, legacy":  {"10.60", "10.61", nettest.IptablesLegacy},
		"without a rule": {"10.60", "10.61", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, ns := e2bSlot(t, c.vrt, c.host)
			want := Topology{
				Name: "tap0", Kind: "tun", TapAddrs: prefixes("169.254.0.22/30"), Guest: Addr{addr("169.254.0.21"), FromSubnet},
				Vpeer: Vpeer{Name: "eth0", Addr: addr(c.vrt + ".1.149")}, Host: Host{Veth: "veth-202", Addr: addr(c.vrt + ".1.148")},
				ClientSource: addr(c.vrt + ".1.148"),
			}
			if c.tool != nil {
				e2bRules(t, c.tool, ns, c.host+".0.202")
				want.Shape, want.Guest.From, want.DNATTo, want.HostIP = registry.DNAT, FromDNAT, addr("169.254.0.21"), Addr{addr(c.host + ".0.202"), FromDNAT}
			}
			equal(t, read(t, host, ns, "tap0", Tap{Port: 49983}), want)
		})
	}
}

// A rule that leads elsewhere in the tap's network is not the way to the guest.
func TestRuleToNobody(t *testing.T) {
	nettest.NeedRoot(t)
	host, ns := e2bSlot(t, "10.12", "10.11")
	nftables(t, ns, "-A PREROUTING -p tcp --dport 22 -j DNAT --to 169.254.0.21")
	got := read(t, host, ns, "tap0", Tap{Port: 49983})
	if got.Shape != "" || got.HostIP.IsValid() || got.DNATTo.IsValid() {
		t.Errorf("a rule for another port: %+v", got)
	}
	nftables(t, ns, "-A PREROUTING -d 10.11.0.202 -j DNAT --to 169.254.0.23")
	got = read(t, host, ns, "tap0", Tap{Port: 49983, Frames: addr("169.254.0.21")})
	if got.Shape != "" || got.HostIP.Addr != addr("10.11.0.202") || got.DNATTo != addr("169.254.0.23") || got.Guest != (Addr{addr("169.254.0.21"), FromFrames}) {
		t.Errorf("a rule to another address: %+v", got)
	}
}

// Who knows the guest better is believed.
func TestWhoKnowsTheGuest(t *testing.T) {
	nettest.NeedRoot(t)
	host, ns := e2bSlot(t, "10.12", "10.11")
	ip(t, ns, "addr del 169.254.0.22/30 dev tap0")
	ip(t, ns, "addr add 169.254.0.22/24 dev tap0")
	known := Tap{Plan: addr("169.254.0.1")}
	check := func(a, from string) {
		t.Helper()
		if got := read(t, host, ns, "tap0", known).Guest; got != (Addr{addr(a), from}) || got.Assumed() != (from == FromPlan) {
			t.Errorf("%v, want %s from %s", got, a, from)
		}
	}
	check("169.254.0.1", FromPlan)
	ip(t, ns, "neigh add 169.254.0.2 lladdr 02:00:00:00:00:01 dev tap0 nud stale")
	check("169.254.0.2", FromNeighbour)
	ip(t, ns, "neigh add 169.254.0.3 lladdr 02:00:00:00:00:01 dev tap0 nud stale")
	check("169.254.0.1", FromPlan) // one of the two
	ip(t, ns, "neigh replace 169.254.0.3 lladdr 02:00:00:00:00:01 dev tap0 nud reachable")
	check("169.254.0.3", FromNeighbour)
	nftables(t, ns, "-A PREROUTING -j DNAT --to 169.254.0.4")
	check("169.254.0.4", FromDNAT)
	known.Frames = addr("169.254.0.5")
	check("169.254.0.5", FromFrames)
	known.VMM = addr("169.254.0.6")
	check("169.254.0.6", FromVMM)
	known.Record = addr("169.254.0.7")
	check("169.254.0.7", FromRecord)
}

// A rule that takes whatever comes in makes the vpeer's address the guest's.
func TestRuleForAll(t *testing.T) {
	nettest.NeedRoot(t)
	host, ns := e2bSlot(t, "10.12", "10.11")
	nftables(t, ns, "-A PREROUTING -i eth0 -j DNAT --to 169.254.0.21")
	if got := read(t, host, ns, "tap0", Tap{}); got.Shape != registry.DNAT || got.HostIP != (Addr{addr("10.12.1.149"), FromDNAT}) {
		t.Errorf("%+v", got)
	}
}

// A host that knows the guest's own address, and a namespace that routes to it.
func TestRoutedThroughANamespace(t *testing.T) {
	nettest.NeedRoot(t)
	host, ns := e2bSlot(t, "10.12", "10.11")
	ip(t, ns, "addr flush dev tap0")
	ip(t, ns, "addr add 172.30.5.1/30 dev tap0")
	if got := read(t, host, ns, "tap0", Tap{}); got.Shape != "" {
		t.Errorf("without a route: %+v", got)
	}
	ip(t, host, "route add 172.30.5.0/30 via 10.12.1.149 dev veth-202")
	if got := read(t, host, ns, "tap0", Tap{}); got.Shape != registry.Routed || got.Guest.Addr != addr("172.30.5.2") || got.ClientSource != addr("10.12.1.148") {
		t.Errorf("%+v", got)
	}
}

// Other names, another way out, and other veth pairs beside it.
func TestNamesSayNothing(t *testing.T) {
	nettest.NeedRoot(t)
	host, ns, third := nettest.Netns(t), nettest.Netns(t), nettest.Netns(t)
	ip(t, host, "link add eth0 type veth peer name uplink netns "+ns)
	ip(t, host, "addr add 10.5.0.1/24 dev eth0")
	ip(t, host, "link set eth0 up")
	ip(t, third, "link add other type veth peer name eth0 netns "+ns) // whose other end is not in the host
	ip(t, ns, "addr add 10.6.0.2/24 dev eth0")
	ip(t, ns, "link add inner type veth peer name inner1") // both ends here
	ip(t, ns, "addr add 10.5.0.2/24 dev uplink")
	nettest.Tap(t, ns, "forkd-tap0")
	ip(t, ns, "addr add 10.42.0.1/24 dev forkd-tap0")
	ip(t, ns, "neigh add 10.42.0.2 lladdr 02:00:00:00:00:01 dev forkd-tap0 nud stale")
	want := Topology{
		Name: "forkd-tap0", Kind: "tun", TapAddrs: prefixes("10.42.0.1/24"), Guest: Addr{addr("10.42.0.2"), FromNeighbour},
		Vpeer: Vpeer{Name: "uplink", Addr: addr("10.5.0.2")}, Host: Host{Veth: "eth0", Addr: addr("10.5.0.1")},
	}
	got := read(t, host, ns, "forkd-tap0", Tap{}) // no default route: that which leads to the host
	want.ClientSource = addr("10.5.0.1")
	equal(t, got, want)
	ip(t, ns, "link set eth0 up")
	ip(t, third, "link set other up")
	ip(t, ns, "route add default via 10.6.0.1")
	want.Vpeer, want.Host, want.ClientSource = Vpeer{Name: "eth0", Addr: addr("10.6.0.2")}, Host{}, netip.Addr{}
	equal(t, read(t, host, ns, "forkd-tap0", Tap{}), want) // what goes out goes there
}

// Taps in the host's own namespace.
func TestInTheHost(t *testing.T) {
	nettest.NeedRoot(t)
	host := nettest.Netns(t)
	ip(t, host, "link set lo up")
	for _, tap := range []string{"fc-1-tap0", "fc-xx-tap", "vnet0", "vnet1"} {
		nettest.Tap(t, host, tap)
	}
	for _, tap := range []string{"vnet0", "vnet1"} { // a bridge learns where there is carrier
		nettest.AttachTap(t, host, tap)
	}
	ip(t, host, "addr add 172.16.0.1/30 dev fc-1-tap0")
	equal(t, read(t, host, "", "fc-1-tap0", Tap{}), Topology{Shape: registry.Routed, Name: "fc-1-tap0", Kind: "tun", OwnNS: true,
		TapAddrs: prefixes("172.16.0.1/30"), Guest: Addr{addr("172.16.0.2"), FromSubnet}, ClientSource: addr("172.16.0.1")})

	ip(t, host, "link add br0 type bridge")
	ip(t, host, "link set fc-xx-tap master br0")
	equal(t, read(t, host, "", "fc-xx-tap", Tap{}), Topology{Shape: registry.Bridged, Name: "fc-xx-tap", Kind: "tun", OwnNS: true,
		Bridge: "br0", TapAddrs: prefixes()})

	ip(t, host, "link add virbr0 type bridge")
	ip(t, host, "addr add 192.168.122.1/24 dev virbr0")
	ip(t, host, "link set virbr0 up")
	ip(t, host, "link set vnet0 master virbr0")
	ip(t, host, "link set vnet1 master virbr0")
	ip(t, host, "neigh add 192.168.122.20 lladdr 02:00:00:00:00:20 dev virbr0 nud stale")
	ip(t, host, "neigh add 192.168.122.21 lladdr 02:00:00:00:00:21 dev virbr0 nud stale")
	learned(t, host, "vnet0", "02:00:00:00:00:20")
	learned(t, host, "vnet1", "02:00:00:00:00:21")
	for tap, guest := range map[string]string{"vnet0": "192.168.122.20", "vnet1": "192.168.122.21"} {
		equal(t, read(t, host, "", tap, Tap{}), Topology{Shape: registry.Bridged, Name: tap, Kind: "tun", OwnNS: true,
			Bridge: "virbr0", TapAddrs: prefixes("192.168.122.1/24"), Guest: Addr{addr(guest), FromNeighbour}, ClientSource: addr("192.168.122.1")})
	}
	nettest.Tap(t, host, "bare")
	equal(t, read(t, host, host, "bare", Tap{}), Topology{Name: "bare", Kind: "tun", OwnNS: true, TapAddrs: prefixes()}) // named, and ours all the same
}

// learned has a bridge learn a MAC at one of its ports, as from a frame.
func learned(t *testing.T, ns, port, mac string) {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	index := int(ifindex(t, ns, port))
	nettest.Eventually(t, "the port forwards, and learns", func() bool {
		return netns.Do(ns, func() error {
			return netlink.NeighAppend(&netlink.Neigh{LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_REACHABLE, Flags: netlink.NTF_MASTER, HardwareAddr: hw})
		}) == nil
	})
}

// A namespace in which a bridge joins the tap and the veth, and one in which the bridge
// has the tap's address.
func TestBridgedInANamespace(t *testing.T) {
	nettest.NeedRoot(t)
	host, ns := e2bSlot(t, "10.12", "10.11")
	ip(t, ns, "link add br0 type bridge")
	ip(t, ns, "link set br0 up")
	ip(t, ns, "addr flush dev tap0")
	ip(t, ns, "addr add 169.254.0.22/30 dev br0")
	ip(t, ns, "link set tap0 master br0")
	want := Topology{Shape: registry.Bridged, Name: "tap0", Kind: "tun", Bridge: "br0", TapAddrs: prefixes("169.254.0.22/30"), Guest: Addr{addr("169.254.0.21"), FromSubnet},
		Vpeer: Vpeer{Name: "eth0", Addr: addr("10.12.1.149")}, Host: Host{Veth: "veth-202", Addr: addr("10.12.1.148")}, ClientSource: addr("10.12.1.148")}
	equal(t, read(t, host, ns, "tap0", Tap{}), want)
	e2bRules(t, nettest.IptablesNFT, ns, "10.11.0.202")
	want.Shape, want.Guest.From, want.DNATTo, want.HostIP = registry.DNAT, FromDNAT, addr("169.254.0.21"), Addr{addr("10.11.0.202"), FromDNAT}
	equal(t, read(t, host, ns, "tap0", Tap{}), want)

	nftables(t, ns, "-F")
	ip(t, ns, "addr flush dev eth0")
	ip(t, ns, "addr flush dev br0")
	ip(t, ns, "link set eth0 master br0")
	ip(t, ns, "addr add 10.12.1.149/31 dev br0")
	ip(t, ns, "route add default via 10.12.1.148")
	got := read(t, host, ns, "tap0", Tap{})
	if got.Vpeer.Name != "eth0" || got.Vpeer.Addr != addr("10.12.1.149") || got.Host.Veth != "veth-202" || got.Shape != registry.Bridged {
		t.Errorf("%+v", got)
	}
}

// What is called tap0 may be anything.
func TestKinds(t *testing.T) {
	nettest.NeedRoot(t)
	for kind, add := range map[string]string{
		"macvtap": "link add link lower name tap0 type macvtap mode bridge",
		"ifb":     "link add tap0 type ifb",
		"veth":    "link add tap0 type veth peer name tap0p",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			host, ns := nettest.Netns(t), nettest.Netns(t)
			ip(t, ns, "link add lower type veth peer name lower1")
			ip(t, ns, add)
			equal(t, read(t, host, ns, "tap0", Tap{}), Topology{Name: "tap0", Kind: kind, TapAddrs: prefixes()})
		})
	}
}

func TestGone(t *testing.T) {
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	for _, tap := range []Tap{{Netns: ns, Ifindex: 4711}, {Netns: nettest.RandomName("none"), Ifindex: 1}} {
		if _, err := Read(tap); !errors.Is(err, ErrGone) {
			t.Errorf("%v: %v, want ErrGone", tap, err)
		}
	}
}

func TestDecide(t *testing.T) {
	for name, c := range map[string]struct {
		t     Topology
		relay path.Tristate
		want  registry.Shape
	}{
		"a relay beside a rule": {Topology{Shape: registry.DNAT}, path.Yes, registry.Relay},
		"a rule":                {Topology{Shape: registry.DNAT}, path.No, registry.DNAT},
		"nobody knows":          {Topology{Shape: registry.DNAT}, path.Unknown, ""},
		"neither":               {Topology{}, path.No, ""},
		"in the host":           {Topology{Shape: registry.Routed, OwnNS: true}, path.Unknown, registry.Routed},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Decide(c.t, c.relay); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestOtherAddress(t *testing.T) {
	for of, want := range map[string]string{
		"169.254.0.22/30": "169.254.0.21", "169.254.0.21/30": "169.254.0.22", "169.254.0.20/30": "", "10.12.0.2/31": "10.12.0.3", "10.0.0.1/24": "", "10.0.0.1/32": "",
	} {
		got := otherAddress(prefixes(of))
		if want == "" && got.IsValid() || want != "" && got.String() != want {
			t.Errorf("%s: %v, want %q", of, got, want)
		}
	}
	if got := otherAddress(prefixes("10.0.0.1/30", "10.1.0.1/30")); got.IsValid() {
		t.Errorf("two networks: %v", got)
	}
}

// BenchmarkRead is one look at a slot as E2B makes it.
func BenchmarkRead(b *testing.B) {
	nettest.NeedRoot(b)
	host, ns := e2bSlot(b, "10.12", "10.11")
	e2bRules(b, nettest.IptablesNFT, ns, "10.11.0.202")
	tap := Tap{Netns: ns, Ifindex: ifindex(b, ns, "tap0"), Port: 49983}
	err := netns.Do(host, func() error {
		for b.Loop() {
			if _, err := Read(tap); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
