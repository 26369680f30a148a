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

// setKey names a set.
type setKey struct {
	family      nftables.TableFamily
	table, name string
}

// set is a set or a map of nftables, as a rule looks into it.
type set struct {
	interval bool
	elements []nftables.SetElement // of an interval: the bounds, in order
}

// readSet reads a set once in a look; nil: it could not be read, or is of a kind that is
// not judged.
func (r *Rules) readSet(t *nftables.Table, name string) *set {
	key := setKey{t.Family, t.Name, name}
	if known, ok := r.sets[key]; ok {
		return known
	}
	r.sets[key] = nil
	found, err := r.conn.GetSetByName(t, name)
	if err != nil || found.Concatenation && found.Interval || found.HasTimeout && found.IsMap {
		return nil
	}
	elements, err := r.conn.GetSetElements(found)
	if err != nil || len(elements) > maxElements || slices.ContainsFunc(elements, func(e nftables.SetElement) bool { return len(e.KeyEnd) > 0 }) {
		return nil
	}
	read := newSet(found.Interval, elements)
	r.sets[key] = read
	return read
}

// keyLen is how many bytes of a packet are looked for.
func (s *set) keyLen() (n int) {
	for _, e := range s.elements {
		n = max(n, len(e.Key))
	}
	return n
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

// find returns the element that holds a value, and how surely one does.
func (s *set) find(v value) (*nftables.SetElement, answer) {
	if len(s.elements) == 0 {
		return nil, no
	}
	if v.lo == nil {
		return nil, perhaps
	}
	e, i := s.of(v.lo)
	if v.hi == nil {
		return e, is(e != nil)
	}
	if v.native { // bounds are in the network's order, and keys of native numbers in the machine's
		return nil, v.varies
	}
	last, j := s.of(v.hi)
	switch {
	case s.interval && i == j: // no bound lies between
		return e, is(e != nil)
	case !s.interval && e == nil && last == nil && !slices.ContainsFunc(s.elements, func(e nftables.SetElement) bool {
		return bytes.Compare(e.Key, v.lo) > 0 && bytes.Compare(e.Key, v.hi) < 0
	}):
		return nil, no
	}
	return nil, v.varies
}

// of returns the element that holds a value, nil where none does, and how many bounds
// lie before it.
func (s *set) of(v []byte) (found *nftables.SetElement, bounds int) {
	var all *nftables.SetElement // holds what no other does
	for i := range s.elements {
		e := &s.elements[i]
		switch c := bytes.Compare(e.Key, v); {
		case len(e.Key) == 0:
			all = e
		case !s.interval && c == 0:
			return e, 0
		case s.interval && c <= 0:
			bounds++
			if found = e; e.IntervalEnd {
				found = nil
			}
		}
	}
	if found == nil {
		found = all
	}
	return found, bounds
}

// parseVerdict reads NFTA_DATA_VERDICT, which the library hands on as it came.
func parseVerdict(b []byte) (v *expr.Verdict, ok bool) {
	const code, chain = 1, 2 // NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN
	v = &expr.Verdict{}
	err := nlsafe.EachAttr(b, func(typ uint16, b []byte) error {
		switch {
		case typ == code && len(b) == 4:
			v.Kind, ok = expr.VerdictKind(int32(binary.BigEndian.Uint32(b))), true
		case typ == chain:
			v.Chain = unix.ByteSliceToString(b)
		}
		return nil
	})
	return v, ok && err == nil
}
