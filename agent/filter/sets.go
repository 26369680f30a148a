package filter

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/internal/nlsafe"
)

// maxElements is how many elements of a set are judged: what is longer is asked for
// on every look, and mostly a list of strangers.
const maxElements = 4096

// set is a set or a map of nftables, as a rule looks into it; nil: it could not be
// read, or is of a kind that is not judged.
type set struct {
	interval bool
	elements []nftables.SetElement // of an interval: the bounds, in order
}

// readSet reads a set once in a look.
func (s *ruleset) readSet(t *nftables.Table, name string) *set {
	key := t.Name + "\x00" + name
	if known, ok := s.sets[key]; ok {
		return known
	}
	s.sets[key] = nil
	found, err := s.conn.GetSetByName(t, name)
	if err != nil || found.Concatenation || found.HasTimeout && found.IsMap {
		return nil
	}
	elements, err := s.conn.GetSetElements(found)
	if err != nil || len(elements) > maxElements {
		return nil
	}
	read := newSet(found.Interval, elements)
	s.sets[key] = read
	return read
}

// newSet puts the bounds of intervals in order. Of two intervals that touch, the
// end of the one and the begin of the next have one key: the end comes first, since
// its value is no more part of its interval.
func newSet(interval bool, elements []nftables.SetElement) *set {
	if interval {
		slices.SortStableFunc(elements, func(a, b nftables.SetElement) int {
			return cmp.Or(bytes.Compare(a.Key, b.Key), boundRank(a)-boundRank(b))
		})
	}
	return &set{interval, elements}
}

func boundRank(e nftables.SetElement) int {
	if e.IntervalEnd {
		return 0
	}
	return 1
}

// find returns the element that holds a value; perhaps where that is not known.
func (s *set) find(v []byte) (*nftables.SetElement, answer) {
	if s == nil {
		return nil, perhaps
	}
	var found *nftables.SetElement
	for i := range s.elements {
		e := &s.elements[i]
		if v == nil || len(v) < len(e.Key) || len(e.KeyEnd) > 0 {
			return nil, perhaps
		}
		switch c := bytes.Compare(e.Key, v[:len(e.Key)]); {
		case !s.interval && c == 0:
			return e, yes
		case s.interval && c <= 0 && e.IntervalEnd:
			found = nil
		case s.interval && c <= 0:
			found = e
		}
	}
	if found == nil {
		return nil, no
	}
	return found, yes
}

// lookup answers a rule's look into a set. Of a map it gives the verdict or the
// value that belongs to what was found.
func lookup(e *expr.Lookup, s *set, regs map[uint32][]byte) (answer, *expr.Verdict) {
	element, is := s.find(regs[e.SourceRegister])
	switch {
	case is == perhaps:
		if e.IsDestRegSet && e.DestRegister == 0 {
			return perhaps, &expr.Verdict{Kind: expr.VerdictDrop} // or another: nobody knows
		}
		return perhaps, nil
	case e.Invert && is == no:
		return yes, nil
	case e.Invert:
		return no, nil
	case is == no || !e.IsDestRegSet:
		return is, nil
	case e.DestRegister == 0:
		return verdictOf(element.Val)
	}
	regs[e.DestRegister] = element.Val
	return yes, nil
}

// verdictOf reads NFTA_DATA_VERDICT, which the library hands on as it came.
func verdictOf(b []byte) (answer, *expr.Verdict) {
	const code, chain = 1, 2 // NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN
	var v *expr.Verdict
	name := ""
	err := nlsafe.EachAttr(b, func(typ uint16, b []byte) error {
		switch {
		case typ == code && len(b) == 4:
			v = &expr.Verdict{Kind: expr.VerdictKind(int32(binary.BigEndian.Uint32(b)))}
		case typ == chain:
			name = unix.ByteSliceToString(b)
		}
		return nil
	})
	if err != nil || v == nil {
		return perhaps, &expr.Verdict{Kind: expr.VerdictDrop} // or another: nobody knows
	}
	v.Chain = name
	return yes, v
}
