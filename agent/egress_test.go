package agent

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// TestLookAtTheWayOut: of a slot that another launched, and whose namespace lets
// its guest out, the host's part is known; of others nothing is asked.
func TestLookAtTheWayOut(t *testing.T) {
	t.Parallel()
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	of := func(foreign bool) *path.Egress {
		return newInspector(nil, e2b.EnvdPort, slog.New(slog.DiscardHandler)).inspect(slots.Target{
			Path: netns.Path(ns), Foreign: foreign, Tap: "tap0", Veth: path.Veth{Host: "veth-7", Peer: "eth0"},
			Addrs: slots.Addrs{Vpeer: netip.MustParseAddr("10.12.0.15"), Host: netip.MustParseAddr("10.11.0.7"),
				Tap: e2b.TapIP(), Guest: e2b.GuestIP()},
		}).Inside.Egress
	}
	if e := of(true); e != nil {
		t.Errorf("nobody lets the guest out: %+v", e)
	}
	nettest.In(t, ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "e2b"})
		chain := c.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Immediate{Register: 1, Data: netip.MustParseAddr("10.11.0.7").AsSlice()},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: 2, RegAddrMin: 1},
		}})
		return c.Flush()
	})
	if e := of(true); e == nil || e.As != "10.11.0.7" || e.HostForwards == path.Unknown || e.Forwards == path.Unknown {
		t.Errorf("its way out: %+v", e)
	}
	if e := of(false); e != nil {
		t.Errorf("of one of ours: %+v", e)
	}
}
