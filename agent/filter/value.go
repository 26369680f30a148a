package filter

import (
	"bytes"
	"slices"

	"github.com/google/nftables/expr"
)

// value is what a register holds.
type value struct {
	lo     []byte // the value; nil: it is not known
	hi     []byte // not nil: it lies between lo and this, both included
	varies answer // of a range: sometimes where packets are known to differ, else perhaps
	native bool   // a number in the machine's order of bytes
	absent bool   // the packet has none
	why    string // what is not known
}

func (v value) known() bool { return v.lo != nil && v.hi == nil }

// cut shortens a value to its first bytes.
func (v value) cut(size int) value {
	if len(v.lo) < size {
		return value{why: v.why}
	}
	if v.hi != nil && len(v.lo) > size {
		return value{why: v.why}
	}
	v.lo = v.lo[:size]
	return v
}

// compare answers whether a value is as a rule asks for.
func (v value) compare(op expr.CmpOp, data []byte) answer {
	if v.lo == nil || len(v.lo) != len(data) {
		return perhaps
	}
	if v.native && v.hi != nil {
		data = slices.Clone(data)
		slices.Reverse(data)
		v = v.swapped(len(data))
	}
	lo, hi := bytes.Compare(v.lo, data), bytes.Compare(v.lo, data)
	if v.hi != nil {
		hi = bytes.Compare(v.hi, data)
	}
	var all, none bool // of what the value may be
	switch op {
	case expr.CmpOpEq, expr.CmpOpNeq:
		all, none = lo == 0 && hi == 0, lo > 0 || hi < 0
		if op == expr.CmpOpNeq {
			all, none = none, all
		}
	case expr.CmpOpLt:
		all, none = hi < 0, lo >= 0
	case expr.CmpOpLte:
		all, none = hi <= 0, lo > 0
	case expr.CmpOpGt:
		all, none = lo > 0, hi <= 0
	case expr.CmpOpGte:
		all, none = lo >= 0, hi < 0
	default:
		return perhaps
	}
	switch {
	case all:
		return yes
	case none:
		return no
	}
	return v.varies
}

func (v value) masked(e *expr.Bitwise) value {
	if !v.known() || len(e.Mask) != len(v.lo) || len(e.Xor) != len(v.lo) {
		return value{why: v.why}
	}
	out := make([]byte, len(v.lo))
	for i := range out {
		out[i] = v.lo[i]&e.Mask[i] ^ e.Xor[i]
	}
	return value{lo: out}
}

// swapped turns numbers of a size from the machine's order into the network's, or back;
// the machines that this runs on are little-endian.
func (v value) swapped(size int) value {
	if v.lo == nil || size <= 0 || len(v.lo)%size != 0 {
		return value{why: v.why}
	}
	swap := func(b []byte) []byte {
		out := slices.Clone(b)
		for at := 0; at < len(out); at += size {
			slices.Reverse(out[at : at+size])
		}
		return out
	}
	v.lo, v.hi, v.native = swap(v.lo), swap(v.hi), !v.native
	return v
}

// word is the number of a register's first four bytes: the registers 1 to 4 are of
// 16 bytes, and those from 8 on name four of these each.
func word(register uint32) uint32 {
	if register < 8 {
		return (register - 1) * 4
	}
	return register - 8
}
