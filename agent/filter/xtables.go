package filter

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Matches and targets of iptables, which iptables-nft keeps as legacy has them: see the
// structs of include/uapi/linux/netfilter/xt_*.h that each case names.

// target is what a target of iptables does with a packet; data is what it was told.
func target(name string, data []byte, v *view) verdict {
	switch name {
	case "REJECT":
		return verdict{kind: drops}
	case "DNAT", "REDIRECT":
		addr, port := natRange(data)
		to := translation{addr: addr, port: port, own: name == "REDIRECT", known: len(data) > 0}
		return verdict{kind: translates, to: to}
	case "SNAT":
		return verdict{kind: translates, to: translation{source: true}}
	case "MASQUERADE":
		return verdict{kind: translates, to: translation{source: true, masquerades: true}}
	case "NETMAP":
		return verdict{kind: translates, to: translation{source: v.hook == *nftables.ChainHookPostrouting}}
	case "LOG", "NFLOG", "MARK", "CONNMARK", "CT", "NOTRACK", "TCPMSS", "CLASSIFY", "DSCP", "TOS", "SECMARK", "CONNSECMARK", "SET", "TRACE", "AUDIT", "CHECKSUM", "ECN", "HL", "TTL", "RATEEST", "TEE", "IDLETIMER":
		return verdict{}
	}
	return verdict{kind: anything}
}

// xtables answers a match.
func (v *view) xtables(name string, revision byte, data []byte) answer {
	switch name {
	case "comment":
		return yes
	case "udp", "icmp", "sctp", "dccp", "esp", "ah":
		return no
	case "limit", "hashlimit", "statistic", "connlimit":
		return sometimes
	}
	return v.xtablesOf(name, revision, data)
}

// xtablesOf answers a match by what it was told.
func (v *view) xtablesOf(name string, revision byte, data []byte) answer {
	u16 := func(at int) uint16 { return binary.NativeEndian.Uint16(data[at:]) }
	switch {
	case name == "tcp" && len(data) >= 12: // xt_tcp
		return v.tcpMatch(data)
	case name == "multiport" && revision == 1 && len(data) >= 48: // xt_multiport_v1
		return v.multiport(data)
	case name == "state" && len(data) >= 4: // xt_state_info
		return is(binary.NativeEndian.Uint32(data)&v.state() != 0)
	case name == "conntrack" && revision >= 2 && len(data) >= 152: // xt_conntrack_mtinfo2
		return v.conntrack(u16(146), u16(148), uint32(u16(150)))
	case name == "owner" && revision == 1 && len(data) >= 18: // xt_owner_match_info
		return v.owner(data)
	case name == "length" && len(data) >= 5: // xt_length_info
		return v.lengthMatch(uint32(u16(0)), uint32(u16(2)), data[4] != 0)
	case name == "addrtype" && revision == 1 && len(data) >= 8: // xt_addrtype_info_v1
		return v.addrType(u16(0), u16(2), binary.NativeEndian.Uint32(data[4:]))
	}
	return perhaps
}

func (v *view) lengthMatch(shortest, most uint32, inverted bool) answer {
	b := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	lo, hi := v.length()
	a := value{lo: b(lo), hi: b(hi), varies: sometimes}.between(b(shortest), b(most))
	if inverted {
		return a.not()
	}
	return a
}

func (v *view) tcpMatch(data []byte) answer {
	const srcPorts, dstPorts, flags = 1, 2, 4 // XT_TCP_INV_*
	port := func(at int) uint16 { return binary.NativeEndian.Uint16(data[at:]) }
	option, mask, want, inverted := data[8], data[9], data[10], data[11]
	invert := func(a answer, by byte) answer {
		if inverted&by != 0 {
			return a.not()
		}
		return a
	}
	a := min(invert(ported(v.from.Port(), port(0), port(2)), srcPorts), invert(ported(v.to.Port(), port(4), port(6)), dstPorts),
		invert(is(v.flags()&mask == want), flags))
	if option != 0 {
		a = min(a, perhaps)
	}
	return a
}

// ported says whether a port is in a range. A client's may be any that is not reserved.
func ported(p, first, last uint16) answer {
	b := func(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }
	v := value{lo: b(p)}
	if p == 0 {
		v = value{lo: b(firstPort), hi: b(0xffff), varies: perhaps}
	}
	return v.between(b(first), b(last))
}

// between says whether a value lies between two, both included.
func (v value) between(first, last []byte) answer {
	return min(v.compare(expr.CmpOpGte, first), v.compare(expr.CmpOpLte, last))
}

func (v *view) multiport(data []byte) answer {
	const source, dest, most = 0, 1, 15 // XT_MULTIPORT_*; else either
	of := no
	for i := 0; i < min(int(data[1]), most); i++ {
		first := binary.NativeEndian.Uint16(data[2+2*i:])
		last := first
		if data[32+i] != 0 && i+1 < most { // the next is the end of a range
			i++
			last = binary.NativeEndian.Uint16(data[2+2*i:])
		}
		if data[0] != dest {
			of = max(of, ported(v.from.Port(), first, last))
		}
		if data[0] != source {
			of = max(of, ported(v.to.Port(), first, last))
		}
	}
	if data[47] != 0 {
		return of.not()
	}
	return of
}

func (v *view) conntrack(flags, inverted uint16, states uint32) answer {
	const byState, byDirection, alias = 1, 1 << 12, 1 << 13 // XT_CONNTRACK_*; the alias says only how it was written
	const translated = 1<<6 | 1<<7                          // XT_CONNTRACK_STATE_SNAT, _DNAT
	a := yes
	if flags&byState != 0 {
		in := is(states&v.state() != 0)
		if in == no && states&translated != 0 {
			in = perhaps
		}
		if inverted&byState != 0 {
			in = in.not()
		}
		a = min(a, in)
	}
	if flags&byDirection != 0 {
		a = min(a, is(v.Answer == (inverted&byDirection != 0)))
	}
	if flags&^(byState|byDirection|alias) != 0 {
		a = min(a, perhaps)
	}
	return a
}

func (v *view) owner(data []byte) answer {
	const uid, gid, socket = 1, 2, 4 // XT_OWNER_*
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(data[at:]) }
	match, inverted := data[16], data[17]
	if v.in != "" { // it has no socket
		return is(match&inverted == match)
	}
	a := yes
	if match&socket != 0 {
		a = min(a, is(inverted&socket == 0))
	}
	if match&uid != 0 {
		its := perhaps
		if v.User != nil {
			its = is((*v.User >= u32(0) && *v.User <= u32(4)) != (inverted&uid != 0))
		}
		a = min(a, its)
	}
	if match&gid != 0 {
		a = min(a, perhaps)
	}
	return a
}

// addrType knows of the destination only whether it is the namespace's own.
func (v *view) addrType(source, dest uint16, flags uint32) answer {
	const unicast, local = 1 << 1, 1 << 2 // XT_ADDRTYPE_*
	const invertDest = 1 << 1
	switch {
	case source != 0, dest == 0, flags&^invertDest != 0, v.to != v.To:
		return perhaps
	}
	kind := uint16(unicast)
	if v.In != "" && v.Out == "" {
		kind = local
	}
	return is((dest&kind != 0) != (flags&invertDest != 0))
}

// natRange reads struct nf_nat_ipv4_multi_range_compat or nf_nat_range2 of
// include/uapi/linux/netfilter/nf_nat.h: by their lengths.
func natRange(b []byte) (to netip.Addr, port uint16) {
	const mapIPs, specified = 1, 2 // NF_NAT_RANGE_MAP_IPS, NF_NAT_RANGE_PROTO_SPECIFIED
	addrAt, portAt, flagsAt := 8, 16, 4
	if len(b) >= 40 {
		addrAt, portAt, flagsAt = 4, 36, 0
	}
	if len(b) < 20 {
		return to, 0
	}
	flags := binary.NativeEndian.Uint32(b[flagsAt:])
	if flags&mapIPs != 0 {
		to = netip.AddrFrom4([4]byte(b[addrAt:]))
	}
	if flags&specified != 0 {
		port = binary.BigEndian.Uint16(b[portAt:])
	}
	return to, port
}
