package topology

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// ip does something to a namespace as an operator would.
func ip(t testing.TB, ns string, command string) {
	t.Helper()
	args := append([]string{"-n", ns}, strings.Fields(command)...)
	if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// e2bSlot makes slot 202 as E2B's network code v1 does, with its two networks where
// its settings put them. Host stands for the host.
func e2bSlot(t testing.TB, vrt, hostNet string) (host, ns string) {
	t.Helper()
	host, ns = nettest.Netns(t), nettest.Netns(t)
	ip(t, host, "link set lo up")
	ip(t, host, "link add veth-202 type veth peer name eth0 netns "+ns)
	ip(t, host, "addr add "+vrt+".1.148/31 dev veth-202")
	ip(t, host, "link set veth-202 up")
	ip(t, ns, "link set lo up")
	ip(t, ns, "addr add "+vrt+".1.149/31 dev eth0")
	ip(t, ns, "link set eth0 up")
	ip(t, ns, "route add default via "+vrt+".1.148")
	ip(t, host, "route add "+hostNet+".0.202/32 via "+vrt+".1.149 dev veth-202")
	nettest.Tap(t, ns, "tap0")
	ip(t, ns, "addr add 169.254.0.22/30 dev tap0")
	return host, ns
}

// iptables is a tool of nettest: that of nftables, or the old one.
type iptables func(t testing.TB, ns string, args ...string)

func nftables(t testing.TB, ns, command string) {
	t.Helper()
	iptables(nettest.IptablesNFT).nat(t, ns, command)
}

// nat adds a rule, or does whatever else the command says, to the table of addresses.
func (tool iptables) nat(t testing.TB, ns, command string) {
	t.Helper()
	tool(t, ns, append([]string{"-t", "nat"}, strings.Fields(command)...)...)
}

// e2bRules are the two rules of E2B's slot.
func e2bRules(t testing.TB, tool iptables, ns, hostIP string) {
	t.Helper()
	tool.nat(t, ns, "-A PREROUTING -i eth0 -d "+hostIP+" -j DNAT --to 169.254.0.21")
	tool.nat(t, ns, "-A POSTROUTING -o eth0 -s 169.254.0.21 -j SNAT --to "+hostIP)
}

func ifindex(t testing.TB, ns, name string) (index netns.Ifindex) {
	t.Helper()
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			index = netns.Ifindex(l.Attrs().Index)
		}
		return err
	})
	return index
}

// read reads a tap by name, from inside host.
func read(t testing.TB, host, ns, name string, tap Tap) Topology {
	t.Helper()
	where := ns
	if where == "" {
		where = host
	}
	tap.Netns, tap.Ifindex = ns, ifindex(t, where, name)
	var got Topology
	err := netns.Do(host, func() (err error) {
		got, err = Read(tap)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Unread) > 0 {
		t.Errorf("not read: %v", got.Unread)
	}
	return got
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(list ...string) []netip.Prefix {
	p := []netip.Prefix{}
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}
