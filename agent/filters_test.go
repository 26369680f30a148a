package agent

import (
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// A rule of the host that drops what goes to one slot is found because the kernel
// reports it: the agent of this test reads every hour.
func TestRulesOfTheHostAreTold(t *testing.T) {
	t.Parallel()
	h := startWith(t, Config{Every: time.Hour})
	h.slot.HostVeth = nettest.Veth(t, h.slot.Netns)
	h.bind(registry.Running)
	h.until("judged", func(s path.Slot) bool { return s.Rules.Drops != nil && s.Rules.Host.Drops != nil })
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: nettest.RandomName("t")})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "out", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter})
	device := make([]byte, unix.IFNAMSIZ)
	copy(device, h.slot.HostVeth)
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: device}, &expr.Verdict{Kind: expr.VerdictDrop},
	}})
	remove := func() error { c.DelTable(table); return c.Flush() }
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	gone := false
	t.Cleanup(func() {
		if !gone {
			_ = remove()
		}
	})
	h.until("the rule", func(s path.Slot) bool { return finds(s, "host-rule-drops") })
	if gone = true; remove() != nil {
		t.Fatal("the rule could not be removed")
	}
	h.until("no rule", func(s path.Slot) bool { return !finds(s, "host-rule-drops") })
}
