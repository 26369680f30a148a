package drill

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
)

// table is the name of the drill's own table of rules, in namespaces of the drill only.
const table = "tapwatch-drill"

// dropRule has the namespace drop all TCP segments that come in for envd's port.
func dropRule(ns string) (undo func() error, err error) {
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: table}
	err = rules(ns, func(c *nftables.Conn) {
		c.AddTable(t)
		chain := c.AddChain(&nftables.Chain{
			Name: "input", Table: t, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
		})
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(toPort(e2b.EnvdPort), &expr.Verdict{Kind: expr.VerdictDrop})})
	})
	return func() error { return rules(ns, func(c *nftables.Conn) { c.DelTable(t) }) }, err
}

// setForward switches the forwarding of IPv4 packets in a namespace.
func setForward(ns string, on bool) error {
	value := []byte("0")
	if on {
		value = []byte("1")
	}
	// /proc/sys/net shows the namespace of the thread that opens it.
	return netns.Do(ns, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", value, 0o644) })
}

// toPort matches TCP segments to a port.
func toPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	}
}

// rules changes the rules of a namespace in one step.
func rules(ns string, change func(*nftables.Conn)) error {
	err := netns.Do(ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		change(c)
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("change rules of %s: %w", ns, err)
	}
	return nil
}
