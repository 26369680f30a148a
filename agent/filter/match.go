package filter

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// answer says whether a rule takes a packet.
type answer int

const (
	no answer = iota
	yes
	perhaps
)

// ctNew and ctEstablished are NF_CT_STATE_BIT of include/uapi/linux/netfilter.
const (
	ctEstablished = 1 << 1
	ctNew         = 1 << 3
)

// Verdicts for rules that give a packet another address: at prerouting another
// destination, at postrouting another source.
const (
	verdictNAT        = expr.VerdictKind(1 << 16)
	verdictMasquerade = expr.VerdictKind(1<<16 + 1)
)

// match runs a rule's expressions on a packet, as the kernel's registers do, and
// returns its verdict, nil where the rule has none. Sets gives what a rule looks into.
func match(exprs []expr.Any, p *Packet, sets func(name string) *set) (answer, *expr.Verdict) {
	regs := map[uint32][]byte{}
	takes := yes
	for _, e := range exprs {
		if v := ending(e); v != nil {
			return takes, v
		}
		if p.load(e, regs) {
			continue
		}
		is, v := p.asked(e, regs, sets)
		switch is {
		case no:
			return no, nil
		case perhaps:
			takes = perhaps
		}
		if v != nil {
			return takes, v
		}
	}
	return takes, nil
}

// ending is the verdict of an expression which ends a rule, else nil.
func ending(e expr.Any) *expr.Verdict {
	switch e := e.(type) {
	case *expr.Verdict:
		return e
	case *expr.Reject:
		return &expr.Verdict{Kind: expr.VerdictDrop}
	case *expr.NAT:
		return &expr.Verdict{Kind: verdictNAT}
	case *expr.Masq:
		return &expr.Verdict{Kind: verdictMasquerade}
	case *expr.Target:
		return target(e.Name)
	}
	return nil
}

// load takes an expression that only gives a register a value, or does nothing to
// a packet's way.
func (p *Packet) load(e expr.Any, regs map[uint32][]byte) bool {
	switch e := e.(type) {
	case *expr.Meta:
		regs[e.Register] = p.meta(e)
	case *expr.Payload:
		regs[e.DestRegister] = p.payload(e)
	case *expr.Ct:
		regs[e.Register] = p.ct(e)
	case *expr.Bitwise:
		regs[e.DestRegister] = masked(regs[e.SourceRegister], e)
	case *expr.Immediate:
		regs[e.Register] = e.Data
	case *expr.Counter, *expr.Log, *expr.Target:
	default:
		return false
	}
	return true
}

// asked answers an expression that a packet may fail; a look into a map of verdicts
// has one.
func (p *Packet) asked(e expr.Any, regs map[uint32][]byte, sets func(name string) *set) (answer, *expr.Verdict) {
	switch e := e.(type) {
	case *expr.Cmp:
		return compare(regs[e.Register], e), nil
	case *expr.Match:
		return p.iptables(e), nil
	case *expr.Lookup:
		return lookup(e, sets(e.SetName), regs)
	}
	return perhaps, nil
}

// target is the verdict of a target of iptables; nil: it has none, or another than
// is of interest here.
func target(name string) *expr.Verdict {
	switch name {
	case "REJECT":
		return &expr.Verdict{Kind: expr.VerdictDrop}
	case "DNAT", "SNAT":
		return &expr.Verdict{Kind: verdictNAT}
	case "MASQUERADE":
		return &expr.Verdict{Kind: verdictMasquerade}
	}
	return nil
}

// compare gives perhaps where the register is not known.
func compare(v []byte, e *expr.Cmp) answer {
	if v == nil || len(v) < len(e.Data) {
		return perhaps
	}
	c := bytes.Compare(v[:len(e.Data)], e.Data)
	var takes bool
	switch e.Op {
	case expr.CmpOpEq:
		takes = c == 0
	case expr.CmpOpNeq:
		takes = c != 0
	case expr.CmpOpLt:
		takes = c < 0
	case expr.CmpOpLte:
		takes = c <= 0
	case expr.CmpOpGt:
		takes = c > 0
	case expr.CmpOpGte:
		takes = c >= 0
	default:
		return perhaps
	}
	if takes {
		return yes
	}
	return no
}

func masked(v []byte, e *expr.Bitwise) []byte {
	if v == nil || len(v) < len(e.Mask) || len(e.Xor) < len(e.Mask) {
		return nil
	}
	out := make([]byte, len(e.Mask))
	for i := range out {
		out[i] = v[i]&e.Mask[i] ^ e.Xor[i]
	}
	return out
}

// meta returns what the packet has of it, nil for what is not known.
func (p *Packet) meta(e *expr.Meta) []byte {
	switch e.Key {
	case expr.MetaKeyL4PROTO:
		return []byte{unix.IPPROTO_TCP}
	case expr.MetaKeyNFPROTO:
		return []byte{unix.NFPROTO_IPV4}
	case expr.MetaKeyIIFNAME:
		return ifname(p.In)
	case expr.MetaKeyOIFNAME:
		return ifname(p.Out)
	}
	return nil
}

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// payload returns bytes of the IPv4 and TCP headers.
func (p *Packet) payload(e *expr.Payload) []byte {
	header := make([]byte, 20)
	known := make([]bool, 20)
	put := func(at int, b []byte) {
		for i, v := range b {
			header[at+i], known[at+i] = v, true
		}
	}
	switch e.Base {
	case expr.PayloadBaseNetworkHeader:
		put(0, []byte{0x45})
		put(9, []byte{unix.IPPROTO_TCP})
		put(12, p.From.Addr().AsSlice())
		put(16, p.To.Addr().AsSlice())
	case expr.PayloadBaseTransportHeader:
		if p.From.Port() != 0 {
			put(0, binary.BigEndian.AppendUint16(nil, p.From.Port()))
		}
		if p.To.Port() != 0 {
			put(2, binary.BigEndian.AppendUint16(nil, p.To.Port()))
		}
	default:
		return nil
	}
	end := e.Offset + e.Len
	if end > uint32(len(header)) || end < e.Offset {
		return nil
	}
	for _, k := range known[e.Offset:end] {
		if !k {
			return nil
		}
	}
	return header[e.Offset:end]
}

func (p *Packet) ct(e *expr.Ct) []byte {
	if e.Key != expr.CtKeySTATE {
		return nil
	}
	state := uint32(ctNew)
	if p.Established {
		state = ctEstablished
	}
	return binary.NativeEndian.AppendUint32(nil, state)
}

// iptables answers the match that iptables-nft keeps as its own.
func (p *Packet) iptables(e *expr.Match) answer {
	tcp, ok := e.Info.(*xt.Tcp)
	if e.Name != "tcp" || !ok || tcp.InvFlags != 0 || tcp.Option != 0 || tcp.FlagsMask != 0 {
		return perhaps
	}
	return p.ports(tcp.SrcPorts, tcp.DstPorts)
}

// ports says whether the packet's ports are in two ranges.
func (p *Packet) ports(src, dst [2]uint16) answer {
	in := func(port uint16, of [2]uint16) answer {
		switch {
		case of == [2]uint16{0, 0xffff}:
			return yes
		case port == 0:
			return perhaps
		case port < of[0] || port > of[1]:
			return no
		}
		return yes
	}
	from, to := in(p.From.Port(), src), in(p.To.Port(), dst)
	switch {
	case from == no || to == no:
		return no
	case from == perhaps || to == perhaps:
		return perhaps
	}
	return yes
}
