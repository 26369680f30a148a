package probe

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// dropAt waits for a drop in a namespace.
func dropAt(t *testing.T, p *Probe, ns netns.Cookie, ok func(PathDrop) bool) (found PathDrop) {
	t.Helper()
	var last []PathDrop
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last %+v", last)
		}
	})
	nettest.Eventually(t, "a drop", func() bool {
		all, err := p.PathDrops()
		if err != nil {
			t.Fatal(err)
		}
		last = nil
		for _, d := range all {
			if d.Device.Netns != ns {
				continue
			}
			last = append(last, d)
			if ok(d) {
				found = d
				return true
			}
		}
		return false
	})
	return found
}

// byNetfilter says whether a packet filter's function dropped them; nftables drops by itself
// since 6.7.
func byNetfilter(d PathDrop) bool {
	name, _, _ := strings.Cut(d.Function, " ") // its module follows
	return name == "nf_hook_slow" || name == "nft_do_chain"
}

// dropTCP has a namespace drop TCP at a hook, without iptables, which test/kernel's guest
// has not.
func dropTCP(t *testing.T, ns string, hook *nftables.ChainHook, at *nftables.ChainPriority) {
	t.Helper()
	nettest.In(t, ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "test"})
		chain := c.AddChain(&nftables.Chain{Name: fmt.Sprint("hook", *hook), Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: at})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		return c.Flush()
	})
}

// What the guest sends and a packet filter drops is told with its place, and so is
// what the namespace itself sends, before it has a device.
func TestPathDropsBothWays(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, f := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, f)
	guest := netip.AddrFrom4(guestIP)
	dropTCP(t, ns, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	connect(t, ns, e2b.EnvdPort)
	syn := g.syn(e2b.EnvdPort)
	for range 3 {
		g.sendTCP(syn.reply(flagSYN|flagACK, 1000))
	}
	from := dropAt(t, p, d.Netns, func(d PathDrop) bool { return d.Back && d.Count == 3 })
	if from.Device != d || from.Addr != guest || from.Reason != "NETFILTER_DROP" || !byNetfilter(from) || from.First == 0 || from.Last < from.First {
		t.Errorf("from the guest: %+v", from)
	}

	dropTCP(t, ns, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	to := dropAt(t, p, d.Netns, func(d PathDrop) bool { return !d.Back }) // the SYN is sent again
	if to.Device != d || to.Addr != guest || to.Reason != "NETFILTER_DROP" || !byNetfilter(to) {
		t.Errorf("of the namespace's own: %+v", to)
	}
	sums, err := p.PathDropSums() // of the host: other tests drop too
	if err != nil || sums[DropKind{"NETFILTER_DROP", true}] < 3 || sums[DropKind{"NETFILTER_DROP", false}] < 1 {
		t.Errorf("sums %v, %v", sums, err)
	}
}

// spoofed is an address that is not by the tap.
var spoofed = [4]byte{10, 99, 0, 1}

// filterReversePath has a namespace drop what comes from an address elsewhere.
func filterReversePath(t *testing.T, ns string) {
	t.Helper()
	nettest.In(t, ns, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0o644)
	})
}

// What the guest sends with an address that is not by its tap is dropped by the kernel
// itself.
func TestPathDropsByReversePath(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, f := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, f)
	filterReversePath(t, ns)
	g.sendTCP(segment{src: spoofed, dst: hostIP, sport: e2b.EnvdPort, dport: 40_000, flags: flagACK})
	found := dropAt(t, p, d.Netns, func(d PathDrop) bool { return d.Back })
	if found.Device != d || found.Addr != netip.AddrFrom4(spoofed) || found.Reason != "IP_RPFILTER" || found.Function == "" {
		t.Errorf("%+v", found)
	}
}

// Packets of other ports are nobody's loss.
func TestPathDropsOfOtherPorts(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, f := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, f)
	filterReversePath(t, ns)
	send := func(port uint16) {
		g.sendTCP(segment{src: spoofed, dst: hostIP, sport: port, dport: 40_000, flags: flagACK})
	}
	send(80)
	send(e2b.EnvdPort)
	if found := dropAt(t, p, d.Netns, func(PathDrop) bool { return true }); found.Count != 1 {
		t.Errorf("%+v", found)
	}
	all, err := p.PathDrops()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, of := range all {
		if of.Device.Netns == d.Netns {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d places, want 1: %+v", n, all)
	}
}

// A kernel before 5.17 tells no reason: the programs load without it, and the place
// is known all the same.
func TestPathDropsWithoutReason(t *testing.T) {
	t.Parallel()
	p := load(t)
	l, err := p.attachLosses([]string{bpf.LossesProgTapDrops, bpf.LossesProgTapRetransmits}, e2b.EnvdPort, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ns, d, f := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, f)
	filterReversePath(t, ns)
	g.sendTCP(segment{src: spoofed, dst: hostIP, sport: e2b.EnvdPort, dport: 40_000, flags: flagACK})
	found := dropAt(t, &Probe{losses: l}, d.Netns, func(PathDrop) bool { return true })
	if found.Reason != "" || found.Function == "" {
		t.Errorf("%+v", found)
	}
}

// What an ended socket still had is no loss: the programs are told its number.
func TestNoLosses(t *testing.T) {
	got := noLosses(map[uint32]string{0: "NOT_DROPPED_YET", 1: "CONSUMED", 2: "NOT_SPECIFIED", 7: "NETFILTER_DROP", 60: "QUEUE_PURGE"})
	all := got[:]
	slices.Sort(all)
	if !slices.Equal(slices.Compact(all), []uint32{0, 1, 60, noReason}) {
		t.Errorf("%v", got)
	}
	if got := noLosses(nil); got[0] != noReason || got[7] != noReason {
		t.Errorf("without reasons: %v", got)
	}
}
