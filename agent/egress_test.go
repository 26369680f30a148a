package agent

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"tapwatch/agent/discover"
	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
)

// TestLookAtTheWayOut: of a slot that another launched, and whose namespace lets
// its guest out, the host's part is known; of others nothing is asked.
func TestLookAtTheWayOut(t *testing.T) {
	t.Parallel()
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	of := func(source discover.Source) *path.Egress {
		s := &slot{entry: &discover.Entry{Namespace: discover.Namespace{Path: "/run/netns/" + ns}, Binding: &discover.Binding{
			Source: source, SandboxID: "i1", Tap: "tap0", HostVeth: "veth-7", VpeerIP: "10.12.0.15", GuestIP: "169.254.0.21",
		}}}
		return newInspector(nil, slog.New(slog.DiscardHandler)).look(targetOf(s)).within.Inside.Egress
	}
	if e := of(discover.Firecracker); e != nil {
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
	if e := of(discover.Firecracker); e == nil || e.As != "10.11.0.7" || e.HostForwards == path.Unknown || e.Forwards == path.Unknown {
		t.Errorf("its way out: %+v", e)
	}
	if e := of(discover.Tapwatch); e != nil {
		t.Errorf("of one of ours: %+v", e)
	}
}
