package network

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
)

// NATTable is ours in the namespace; it goes with it.
const NATTable = "tapwatch"

// EnableDNAT has the slot's kernel pass what comes for HostIP on to the guest,
// and gives what the guest begins HostIP as its source: E2B's two rules. What the
// guest begins passes only if it has Internet access, and to public addresses alone.
// It is for a slot that is about to be bound; the rules go with the namespace.
func EnableDNAT(s Slot, internet bool) error {
	err := netns.Do(s.Netns(), func() error {
		c, err := nftables.New() // its socket belongs to the namespace
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: NATTable})
		addRule(c, table, "prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest,
			translation{meta: expr.MetaKeyIIFNAME, field: destination, match: s.HostIP().AsSlice(), to: s.GuestIP().AsSlice(), kind: expr.NATTypeDestNAT})
		addRule(c, table, "postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource,
			translation{meta: expr.MetaKeyOIFNAME, field: source, match: s.GuestIP().AsSlice(), to: s.HostIP().AsSlice(), kind: expr.NATTypeSourceNAT})
		if err := letOut(c, s, internet); err != nil {
			return err
		}
		return c.Flush() // all of it or nothing
	})
	if err != nil {
		return fmt.Errorf("set DNAT rules of slot %d: %w", s.Index, err)
	}
	return nil
}

// translation is one rule: of what passes the vpeer, an address that matches
// becomes another.
type translation struct {
	meta  expr.MetaKey // the vpeer is where it comes in, or goes out
	field uint32       // of the IPv4 header, its offset in bytes
	match []byte
	to    []byte
	kind  expr.NATType
}

// Offsets in an IPv4 header.
const (
	source      = 12
	destination = 16
)

func addRule(c *nftables.Conn, t *nftables.Table, chain string, hook *nftables.ChainHook, p *nftables.ChainPriority, r translation) {
	ch := c.AddChain(&nftables.Chain{Name: chain, Table: t, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: p})
	c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: []expr.Any{
		&expr.Meta{Key: r.meta, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: interfaceName(e2b.Vpeer)},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: r.field, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: r.match},
		&expr.Immediate{Register: 1, Data: r.to},
		&expr.NAT{Type: r.kind, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}})
}

// interfaceName is a name as the kernel compares it, padded by zeros.
func interfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}
