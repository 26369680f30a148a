package flowtest

import (
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
)

// DNAT has the slot's kernel pass on to the guest what comes for HostIP, as E2B
// does: no relay is needed then.
func (s *Slot) DNAT(t testing.TB) {
	t.Helper()
	nettest.In(t, s.Netns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"})
		chain := c.AddChain(&nftables.Chain{
			Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
		})
		const destination = 16 // offset in the IPv4 header
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destination, Len: 4},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: s.HostIP.Addr().AsSlice()},
			&expr.Immediate{Register: 1, Data: Envd.Addr().AsSlice()},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
		}})
		return c.Flush() // all of it or nothing
	})
}
