package filter

import (
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// What the kernel says of chains and rules is read to its end, whatever it is.
func FuzzRules(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 8, 0, 1, 0, 'f', 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 44, 0, 4, 128, 40, 0, 1, 128, 9, 0, 1, 0, 'm', 'e', 't', 'a', 0, 0, 0, 0, 20, 0, 2, 128, 8, 0, 2, 0, 0, 0, 0, 1, 8, 0, 1, 0, 0, 0, 0, 1})
	f.Fuzz(func(_ *testing.T, body []byte) {
		c, err := parseChain(body)
		if err != nil {
			return
		}
		table, _, found, err := parseRule(body)
		if err != nil {
			return
		}
		r := &Rules{chains: []*chain{c}, sets: map[setKey]*set{}}
		for _, e := range found.exprs {
			if l, ok := e.(*expr.Lookup); ok {
				r.sets[setKey{table.Family, table.Name, l.SetName}] = newSet(true, []nftables.SetElement{{Key: []byte{1, 2}, Val: body}})
				r.sets[setKey{c.table.Family, c.table.Name, l.SetName}] = nil
			}
		}
		c.rules = []rule{found}
		r.Judge(append(toRelay.Packets(), ARP("eth0", "", toRelay.From.Addr(), toRelay.To.Addr())...))
	})
}
