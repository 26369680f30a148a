package filter

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// maxEntries bounds how many entries are looked at: a table that the kernel accepted
// has no loops, but its chains may be led to from many others.
const maxEntries = 1 << 16

// dnats returns those of the table's nat chain for what comes in.
func (t *legacy) dnats() (list []DNAT) {
	if t.name != "nat" || t.valid&(1<<prerouting) == 0 {
		return nil
	}
	left := maxEntries
	t.chainDNATs(&list, t.begins[prerouting], DNAT{Ports: AllPorts}, 0, &left)
	return list
}

// chainDNATs adds those of a chain and of the chains that it leads to; narrowed
// holds what the rules on the way there ask for.
func (t *legacy) chainDNATs(list *[]DNAT, at uint32, narrowed DNAT, depth int, left *int) {
	for ; len(*list) < maxDNATs && *left > 0; *left-- {
		e, ok := t.entry(at)
		if !ok {
			return
		}
		at += e.next
		name, v := e.target()
		d := e.asks(narrowed)
		switch {
		case name == "ERROR": // the table's end, or another chain's beginning
			return
		case name == "DNAT":
			if d.To, d.Port = natRange(e.targeted[matchHead:]); d.To.IsValid() {
				*list = append(*list, d)
			}
		case name == "" && v >= 0 && uint32(v) != at && depth < maxJumps:
			t.chainDNATs(list, uint32(v), d, depth+1, left)
		case name == "" && v < 0 && len(e.matches) == 0 && e.all(): // what follows is never reached
			return
		}
	}
}

// asks is what a rule of iptables-legacy asks for, besides those before it.
func (e entry) asks(narrowed DNAT) DNAT {
	h, inverted := e.head, e.head[83]
	const in, dst = 0x01, 0x10 // IPT_INV_VIA_IN, IPT_INV_DSTIP
	if ones, bits := net.IPMask(h[12:16]).Size(); ones > 0 && bits > 0 && inverted&dst == 0 {
		narrowed.Of = netip.PrefixFrom(netip.AddrFrom4([4]byte(h[4:8])), ones)
	}
	if name := unix.ByteSliceToString(h[16:32]); name != "" && inverted&in == 0 && h[48+len(name)] != 0 { // the mask covers the name's end
		narrowed.In = name
	}
	if b := e.matches; len(b) >= matchHead+12 && unix.ByteSliceToString(b[2:31]) == "tcp" && b[matchHead+11] == 0 {
		narrowed.Ports = [2]uint16{binary.NativeEndian.Uint16(b[matchHead+4:]), binary.NativeEndian.Uint16(b[matchHead+6:])}
	}
	return narrowed
}

// all says whether a rule takes every packet.
func (e entry) all() bool {
	for _, b := range e.head[:84] {
		if b != 0 {
			return false
		}
	}
	return true
}
