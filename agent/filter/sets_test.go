package filter

import (
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
)

// Rules that look into sets.
func TestSets(t *testing.T) {
	nettest.NeedRoot(t)
	port := func(p uint16) []byte { return []byte{byte(p >> 8), byte(p)} }
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	for name, c := range map[string]struct {
		set      nftables.Set
		elements []nftables.SetElement
		invert   bool
		want     bool
	}{
		"one of them":                     {nftables.Set{}, []nftables.SetElement{{Key: port(22)}, {Key: port(49983)}}, false, true},
		"none of them":                    {nftables.Set{}, []nftables.SetElement{{Key: port(22)}}, false, false},
		"all but them":                    {nftables.Set{}, []nftables.SetElement{{Key: port(22)}}, true, true},
		"all but one of them":             {nftables.Set{}, []nftables.SetElement{{Key: port(49983)}}, true, false},
		"in a range":                      {nftables.Set{Interval: true}, []nftables.SetElement{{Key: port(49000)}, {Key: port(50000), IntervalEnd: true}}, false, true},
		"behind a range":                  {nftables.Set{Interval: true}, []nftables.SetElement{{Key: port(1000)}, {Key: port(2000), IntervalEnd: true}}, false, false},
		"between two":                     {nftables.Set{Interval: true}, []nftables.SetElement{{Key: port(1)}, {Key: port(2), IntervalEnd: true}, {Key: port(50000)}, {Key: port(60000), IntervalEnd: true}}, false, false},
		"in the second of two that touch": {nftables.Set{Interval: true}, []nftables.SetElement{{Key: port(49982)}, {Key: port(49983), IntervalEnd: true}, {Key: port(49983)}, {Key: port(49984), IntervalEnd: true}}, false, true},
		"in the first of two that touch":  {nftables.Set{Interval: true}, []nftables.SetElement{{Key: port(49983)}, {Key: port(49984), IntervalEnd: true}, {Key: port(49984)}, {Key: port(49985), IntervalEnd: true}}, false, true},
		"behind two that touch":           {nftables.Set{Interval: true}, []nftables.SetElement{{Key: port(49981)}, {Key: port(49982), IntervalEnd: true}, {Key: port(49982)}, {Key: port(49983), IntervalEnd: true}}, false, false},
		"a verdict that drops":            {nftables.Set{IsMap: true, DataType: nftables.TypeVerdict}, []nftables.SetElement{{Key: port(49983), VerdictData: drop}}, false, true},
		"another's verdict":               {nftables.Set{IsMap: true, DataType: nftables.TypeVerdict}, []nftables.SetElement{{Key: port(22), VerdictData: drop}}, false, false},
	} {
		t.Run(name, func(t *testing.T) { // one by one: the library counts sets without a lock
			ns := nettest.Netns(t)
			nettest.In(t, ns, func() error {
				conn, err := nftables.New()
				if err != nil {
					return err
				}
				table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "filter"})
				set := c.set
				set.Table, set.Name, set.KeyType = table, "some", nftables.TypeInetService
				if err := conn.AddSet(&set, c.elements); err != nil {
					return err
				}
				chain := conn.AddChain(&nftables.Chain{Name: "input", Table: table, Type: nftables.ChainTypeFilter,
					Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
				look := &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, Invert: c.invert, IsDestRegSet: set.IsMap}
				exprs := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
					&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, look}
				if !set.IsMap {
					exprs = append(exprs, drop)
				}
				conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
				return conn.Flush()
			})
			f, _, err := ReadRules(ns, toRelay.Packets(), nil)
			if err != nil || (len(f.Drops) > 0) != c.want || len(f.NotJudged) > 0 {
				t.Errorf("got %+v, %v, want any: %t", f, err, c.want)
			}
		})
	}
}

// The kernel lists the bounds of intervals in an order of its own.
func TestIntervalsThatTouch(t *testing.T) {
	begin, end := func(k byte) nftables.SetElement { return nftables.SetElement{Key: []byte{k}} }, func(k byte) nftables.SetElement {
		return nftables.SetElement{Key: []byte{k}, IntervalEnd: true}
	}
	for name, elements := range map[string][]nftables.SetElement{
		"forwards":                  {end(0), begin(1), end(2), begin(2), end(3), begin(7), end(9)},
		"the begin before the end":  {end(0), begin(1), begin(2), end(2), end(3), begin(7), end(9)},
		"backwards":                 {end(9), begin(7), end(3), begin(2), end(2), begin(1), end(0)},
		"backwards, the end before": {end(9), begin(7), end(3), end(2), begin(2), begin(1), end(0)},
	} {
		s := newSet(true, elements)
		for v, want := range []answer{no, yes, yes, no, no, no, no, yes, yes, no, no} {
			if _, got := s.find(value{lo: []byte{byte(v)}}); got != want {
				t.Errorf("%s: %d: %d, want %d", name, v, got, want)
			}
		}
	}
}

// What a client's port is nobody knows: a set that holds all, or none, answers anyway.
func TestSetsOfWhatIsNotKnown(t *testing.T) {
	begin, end := func(k byte) nftables.SetElement { return nftables.SetElement{Key: []byte{k}} }, func(k byte) nftables.SetElement {
		return nftables.SetElement{Key: []byte{k}, IntervalEnd: true}
	}
	some := value{lo: []byte{10}, hi: []byte{20}, varies: perhaps}
	for name, c := range map[string]struct {
		interval bool
		elements []nftables.SetElement
		want     answer
	}{
		"all":              {true, []nftables.SetElement{begin(5), end(30)}, yes},
		"none":             {true, []nftables.SetElement{begin(1), end(10), begin(21), end(30)}, no},
		"the first half":   {true, []nftables.SetElement{begin(5), end(15)}, perhaps},
		"one within":       {true, []nftables.SetElement{begin(12), end(13)}, perhaps},
		"another value":    {false, []nftables.SetElement{begin(5), begin(30)}, no},
		"one of them":      {false, []nftables.SetElement{begin(15)}, perhaps},
		"the last":         {false, []nftables.SetElement{begin(20)}, perhaps},
		"nothing":          {true, nil, no},
		"everything":       {true, []nftables.SetElement{{}}, yes},
		"not to be judged": {true, []nftables.SetElement{begin(5), end(15), begin(15), end(30)}, perhaps}, // two elements may do two things
	} {
		if _, got := newSet(c.interval, c.elements).find(some); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
