package filter

import (
	"encoding/binary"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"tapwatch/internal/nettest"
)

// BenchmarkHost is what a host with 5,000 rules of others costs: to read them, which is
// done for all slots at once, and to judge one slot by them.
func BenchmarkHost(b *testing.B) {
	ns := nettest.Netns(b)
	nettest.In(b, ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "t"})
		chain := c.AddChain(&nftables.Chain{Table: table, Name: "in", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
		for i := range uint32(5000) {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint32(nil, 0xc6120000+i)}, &expr.Verdict{Kind: expr.VerdictDrop},
			}})
			if i%100 == 99 {
				if err := c.Flush(); err != nil {
					return err
				}
			}
		}
		return c.Flush()
	})
	var rules *Rules
	b.Run("read", func(b *testing.B) {
		nettest.In(b, ns, func() (err error) {
			for b.Loop() {
				if rules, err = Read(); err != nil {
					return err
				}
			}
			return nil
		})
	})
	b.Run("judge", func(b *testing.B) {
		packets := toRelay.Packets()
		for b.Loop() {
			rules.Judge(packets)
		}
	})
}
