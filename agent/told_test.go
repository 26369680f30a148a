package agent

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/internal/e2b"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// What the kernel tells of is found though nothing is read from time to time: the
// agent of this test reads every hour.
func TestFoundBecauseTold(t *testing.T) {
	t.Parallel()
	h := startWith(t, Config{Every: time.Hour})
	addAddr(t, h.slot.Netns, "tap0", netip.MustParseAddr(e2b.TapAddr), 30)
	cmd := h.vmm()
	h.slot.Sandbox.State = registry.Running
	h.slot.Sandbox.Console = filepath.Join(t.TempDir(), "console.log")
	if err := os.WriteFile(h.slot.Sandbox.Console, []byte("booting\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.put()
	found := func(code string) func(path.Slot) bool {
		return func(s path.Slot) bool { return finds(s, code) }
	}
	not := func(ok func(path.Slot) bool) func(path.Slot) bool { return func(s path.Slot) bool { return !ok(s) } }
	h.until("relay and tap", func(s path.Slot) bool {
		return s.Relay.Listening == path.Yes && s.Device.Carrier == path.Yes && s.Sandbox != nil && !s.Sandbox.Booting
	})

	nettest.In(t, h.slot.Netns, dropForEnvd)
	h.until("the rule", found("rule-drops"))
	nettest.In(t, h.slot.Netns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	})
	h.until("no rule", not(found("rule-drops")))

	rule := netlink.NewRule()
	rule.Dst, rule.Priority, rule.Type = &net.IPNet{IP: net.ParseIP(h.slot.GuestIP), Mask: net.CIDRMask(32, 32)}, 10, unix.FR_ACT_BLACKHOLE
	nettest.In(t, h.slot.Netns, func() error { return netlink.RuleAdd(rule) })
	h.until("the rule of routing", found("guest-route"))
	nettest.In(t, h.slot.Netns, func() error { return netlink.RuleDel(rule) })
	h.until("no rule of routing", not(found("guest-route")))

	onTap := func(do func(netlink.Link) error) {
		t.Helper()
		nettest.In(t, h.slot.Netns, func() error {
			l, err := netlink.LinkByName("tap0")
			if err != nil {
				return err
			}
			return do(l)
		})
	}
	onTap(netlink.LinkSetARPOff)
	h.until("no ARP", found("tap-noarp"))
	onTap(netlink.LinkSetARPOn)
	h.until("ARP", not(found("tap-noarp")))
	slow := func(do func(netlink.Qdisc) error) func(netlink.Link) error {
		return func(l netlink.Link) error {
			return do(&netlink.Tbf{Rate: 1000, Buffer: netlink.Xmittime(1000, 1600), Limit: 3000,
				QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)}})
		}
	}
	onTap(slow(netlink.QdiscAdd))
	h.until("the qdisc", found("tap-qdisc"))
	onTap(slow(netlink.QdiscDel))
	h.until("no qdisc", not(found("tap-qdisc")))

	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.until("the stop", found("vmm-stopped"))
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	h.until("no stop", not(found("vmm-stopped")))

	h.relay.Close()
	h.until("no relay", found("relay-not-listening"))

	console, err := os.OpenFile(h.slot.Sandbox.Console, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	if _, err := console.WriteString("Kernel panic - not syncing: Attempted to kill init!\n"); err != nil {
		t.Fatal(err)
	}
	h.until("the panic", found("guest-panic"))
}

func dropForEnvd() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "t"})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "in", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}})
	return c.Flush()
}

// A look that does not come back makes its facts unknown and holds up no other.
func TestLookHasADeadline(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.vmm()
	h.until("bound", func(s path.Slot) bool { return s.Sandbox != nil && s.Rules.Drops != nil })
	i := h.agent.inspector
	at := h.target()
	release, looking, looked := make(chan struct{}), false, make(chan struct{})
	nettest.Eventually(t, "no other look at that time", func() bool {
		i.lookBy(at, func(slots.Target) *slots.Inspection {
			looking = true
			<-release
			close(looked)
			return &slots.Inspection{}
		})
		return looking
	})
	h.until("unknown", func(s path.Slot) bool { return s.Rules.Drops == nil })
	close(release)
	<-looked
	h.until("looked at again", func(s path.Slot) bool { return s.Rules.Drops != nil })
}
