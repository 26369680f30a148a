package filter

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
)

var (
	toRelay   = Packet{What: "a request", Hook: *nftables.ChainHookInput, In: "eth0", From: netip.MustParseAddrPort("10.12.0.2:0"), To: netip.MustParseAddrPort("10.12.0.3:49983")}
	fromRelay = Packet{What: "an answer", Hook: *nftables.ChainHookOutput, Out: "eth0", From: netip.MustParseAddrPort("10.12.0.3:49983"), To: netip.MustParseAddrPort("10.12.0.2:0"), Established: true}
)

// Rules as nft makes them, in a real namespace.
func TestDrops(t *testing.T) {
	nettest.NeedRoot(t)
	drop, accept := &expr.Verdict{Kind: expr.VerdictDrop}, &expr.Verdict{Kind: expr.VerdictAccept}
	tcp := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}}}
	port := func(p uint16) []expr.Any {
		return slices.Concat(tcp, []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(p >> 8), byte(p)}}})
	}
	established := []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{ctEstablished, 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}}
	on := func(key expr.MetaKey, name string) []expr.Any {
		return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifname(name)}}
	}
	limit := []expr.Any{&expr.Limit{Type: expr.LimitTypePkts, Rate: 10, Unit: expr.LimitTimeSecond, Burst: 5}}
	with := func(parts ...[]expr.Any) []expr.Any { return slices.Concat(parts...) }
	then := func(v expr.Any) []expr.Any { return []expr.Any{v} }
	for name, c := range map[string]struct {
		policy nftables.ChainPolicy
		rules  [][]expr.Any
		want   bool
	}{
		"nothing":                     {nftables.ChainPolicyAccept, nil, false},
		"policy":                      {nftables.ChainPolicyDrop, nil, true},
		"all":                         {nftables.ChainPolicyAccept, [][]expr.Any{then(drop)}, true},
		"its port":                    {nftables.ChainPolicyAccept, [][]expr.Any{with(port(49983), then(drop))}, true},
		"rejected":                    {nftables.ChainPolicyAccept, [][]expr.Any{with(port(49983), then(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}))}, true},
		"another port":                {nftables.ChainPolicyAccept, [][]expr.Any{with(port(22), then(drop))}, false},
		"accepted before":             {nftables.ChainPolicyDrop, [][]expr.Any{with(port(49983), then(accept))}, false},
		"another interface":           {nftables.ChainPolicyAccept, [][]expr.Any{with(on(expr.MetaKeyIIFNAME, "tap0"), then(drop))}, false},
		"its interface":               {nftables.ChainPolicyAccept, [][]expr.Any{with(on(expr.MetaKeyIIFNAME, "eth0"), then(drop))}, true},
		"what is established only":    {nftables.ChainPolicyAccept, [][]expr.Any{with(established, then(drop))}, false},
		"all but established":         {nftables.ChainPolicyDrop, [][]expr.Any{with(established, then(accept))}, true},
		"some of it, nobody knows":    {nftables.ChainPolicyAccept, [][]expr.Any{with(limit, then(drop))}, false},
		"perhaps accepted before":     {nftables.ChainPolicyDrop, [][]expr.Any{with(limit, then(accept))}, false},
		"in a chain that it leads to": {nftables.ChainPolicyAccept, [][]expr.Any{then(&expr.Verdict{Kind: expr.VerdictJump, Chain: "other"})}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := nettest.Netns(t)
			nettest.In(t, ns, func() error {
				conn, err := nftables.New()
				if err != nil {
					return err
				}
				table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "filter"})
				other := conn.AddChain(&nftables.Chain{Name: "other", Table: table})
				conn.AddRule(&nftables.Rule{Table: table, Chain: other, Exprs: then(drop)})
				chain := conn.AddChain(&nftables.Chain{Name: "input", Table: table, Type: nftables.ChainTypeFilter,
					Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &c.policy})
				for _, r := range c.rules {
					conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r})
				}
				return conn.Flush()
			})
			r, err := ReadRules(ns, []Packet{toRelay, fromRelay}, nil)
			drops := r.Drops
			if err != nil || (len(drops) > 0) != c.want || len(drops) > 1 {
				t.Errorf("got %q, %v, want any: %t", drops, err, c.want)
			}
			for _, d := range drops {
				if !strings.Contains(d, "chain input of table filter drops a request") {
					t.Errorf("says %q", d)
				}
			}
		})
	}
	if _, err := ReadRules(nettest.RandomName("none"), nil, nil); err == nil {
		t.Error("no namespace, and no error")
	}
}
