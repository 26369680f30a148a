package filter

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// jump is where a rule leads, and what it and those before it ask for.
type jump struct {
	chain    string
	narrowed DNAT
}

// dnatsOf reads one rule: which packets get which destination, or where it leads.
func dnatsOf(exprs []expr.Any, narrowed DNAT, sets func(name string) *set) (list []DNAT, leads *jump) {
	ways := []*way{{DNAT: narrowed, regs: map[uint32][]byte{}, asks: map[uint32]asked{}}}
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Lookup:
			ways = eachOf(ways, e, sets(e.SetName))
			continue
		case *expr.Verdict:
			if (e.Kind == expr.VerdictJump || e.Kind == expr.VerdictGoto) && len(ways) == 1 {
				return list, &jump{e.Chain, ways[0].DNAT}
			}
			return list, nil
		}
		for i, w := range ways {
			done, takes := w.step(e)
			if !takes {
				return nil, nil
			}
			if done != nil && done.To.IsValid() {
				list = append(list, *done)
			}
			ways[i] = w
		}
	}
	return list, nil
}

// asked is what a register was loaded with.
type asked struct {
	what what
	bits int // of the address, from the left, that are looked at
}

type what int

const (
	something what = iota
	inDevice
	destination
	port
	protocol
)

// way is one way through a rule: of a map there is one for each element.
type way struct {
	DNAT
	regs map[uint32][]byte // known values, by the number of their first four bytes
	asks map[uint32]asked
}

// step takes an expression. Done is set where it gives another destination; takes is
// false where the rule is not for TCP.
func (w *way) step(e expr.Any) (done *DNAT, takes bool) {
	switch e := e.(type) {
	case *expr.Meta:
		switch e.Key {
		case expr.MetaKeyIIFNAME:
			w.load(e.Register, asked{what: inDevice})
		case expr.MetaKeyL4PROTO:
			w.load(e.Register, asked{what: protocol})
		default:
			w.load(e.Register, asked{})
		}
	case *expr.Payload:
		w.load(e.DestRegister, payloadAsked(e))
	case *expr.Bitwise:
		w.load(e.DestRegister, w.asks[word(e.SourceRegister)].masked(e))
	case *expr.Immediate:
		w.load(e.Register, asked{})
		w.regs[word(e.Register)] = e.Data
	case *expr.Cmp:
		return nil, w.compare(e)
	case *expr.Range:
		if w.asks[word(e.Register)].what == port && e.Op == expr.CmpOpEq && len(e.FromData) == 2 && len(e.ToData) == 2 {
			w.Ports = [2]uint16{binary.BigEndian.Uint16(e.FromData), binary.BigEndian.Uint16(e.ToData)}
		}
	case *expr.Match:
		if tcp, ok := e.Info.(*xt.Tcp); ok && e.Name == "tcp" && tcp.InvFlags == 0 {
			w.Ports = tcp.DstPorts
		}
		return nil, e.Name != "udp"
	case *expr.NAT:
		if e.Type == expr.NATTypeDestNAT {
			return w.translated(e), true
		}
	case *expr.Target:
		return w.target(e), true
	}
	return nil, true
}

func payloadAsked(e *expr.Payload) asked {
	const daddr, dport = 16, 2 // offsets in the headers
	switch {
	case e.Base == expr.PayloadBaseNetworkHeader && e.Offset == daddr && e.Len <= 4: // a prefix of whole bytes is loaded so
		return asked{destination, int(e.Len) * 8}
	case e.Base == expr.PayloadBaseNetworkHeader && e.Offset == 9 && e.Len == 1:
		return asked{what: protocol}
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == dport && e.Len == 2:
		return asked{what: port}
	}
	return asked{}
}

func (a asked) masked(e *expr.Bitwise) asked {
	ones, bits := net.IPMask(e.Mask).Size()
	if a.what != destination || bits == 0 {
		return asked{}
	}
	return asked{destination, ones}
}

// load gives a register another value.
func (w *way) load(register uint32, a asked) {
	delete(w.regs, word(register))
	w.asks[word(register)] = a
}

// compare narrows the way by what a rule asks for.
func (w *way) compare(e *expr.Cmp) (takes bool) {
	a := w.asks[word(e.Register)]
	if a.what == protocol && len(e.Data) == 1 {
		return (e.Data[0] == unix.IPPROTO_TCP) == (e.Op == expr.CmpOpEq)
	}
	switch {
	case e.Op == expr.CmpOpEq:
		w.narrow(a, e.Data)
	case a.what == port && len(e.Data) == 2 && e.Op == expr.CmpOpGte:
		w.Ports[0] = binary.BigEndian.Uint16(e.Data)
	case a.what == port && len(e.Data) == 2 && e.Op == expr.CmpOpLte:
		w.Ports[1] = binary.BigEndian.Uint16(e.Data)
	}
	return true
}

func (w *way) narrow(a asked, value []byte) {
	switch {
	case a.what == inDevice && bytes.IndexByte(value, 0) > 0: // else the beginning of names
		w.In = unix.ByteSliceToString(value)
	case a.what == destination && len(value) <= 4:
		var addr [4]byte
		copy(addr[:], value)
		w.Of = netip.PrefixFrom(netip.AddrFrom4(addr), a.bits)
	case a.what == port && len(value) == 2:
		p := binary.BigEndian.Uint16(value)
		w.Ports = [2]uint16{p, p}
	}
}

// eachOf follows a look into a set: there is a way for each of its elements. A set
// that cannot be read, or that a rule excludes, leaves what is asked for open.
func eachOf(ways []*way, e *expr.Lookup, s *set) (each []*way) {
	if s == nil || e.Invert {
		for _, w := range ways {
			w.load(e.DestRegister, asked{})
		}
		return ways
	}
	for _, w := range ways {
		a := w.asks[word(e.SourceRegister)]
		for _, element := range s.elements {
			if element.IntervalEnd || len(each) >= maxDNATs {
				continue
			}
			next := &way{DNAT: w.DNAT, regs: map[uint32][]byte{}, asks: map[uint32]asked{}}
			if !s.interval {
				next.narrow(a, element.Key)
			}
			if e.IsDestRegSet {
				next.regs[word(e.DestRegister)] = element.Val
			}
			each = append(each, next)
		}
	}
	return each
}

// value returns bytes of a register, nil where they are not known.
func (w *way) value(register uint32, size int) []byte {
	at := word(register)
	if v := w.regs[at]; len(v) >= size {
		return v[:size]
	}
	for start, v := range w.regs { // a part of a map's value: address, then port
		if skip := int(at-start) * 4; at > start && skip+size <= len(v) {
			return v[skip : skip+size]
		}
	}
	return nil
}

func (w *way) translated(e *expr.NAT) *DNAT {
	d := w.DNAT
	if v := w.value(e.RegAddrMin, 4); v != nil {
		d.To = netip.AddrFrom4([4]byte(v))
	}
	if e.RegProtoMin != 0 {
		if v := w.value(e.RegProtoMin, 2); v != nil {
			d.Port = binary.BigEndian.Uint16(v)
		}
	}
	return &d
}

// target reads iptables' DNAT as iptables-nft keeps it.
func (w *way) target(e *expr.Target) *DNAT {
	if e.Name != "DNAT" {
		return nil
	}
	var to xt.NatRange
	switch info := e.Info.(type) {
	case *xt.NatRange2:
		to = info.NatRange
	case *xt.NatRange:
		to = *info
	case *xt.NatIPv4MultiRangeCompat:
		if len(*info) == 0 {
			return nil
		}
		first := (*info)[0]
		to = xt.NatRange{Flags: first.Flags, MinIP: first.MinIP, MinPort: first.MinPort}
	default:
		return nil
	}
	d := w.DNAT
	if addr, ok := netip.AddrFromSlice(to.MinIP.To4()); ok && to.Flags&uint(xt.NatRangeMapIPs) != 0 {
		d.To = addr
	}
	if to.Flags&uint(xt.NatRangeProtoSpecified) != 0 {
		d.Port = to.MinPort
	}
	return &d
}
