package capture

import (
	"encoding/binary"
	"hash/maphash"
)

// packet is what tells a packet from others at whatever device it is seen: without
// link header, addresses, TTL and checksums, which change on a path.
type packet struct {
	known    bool   // it could be read
	arp      bool   // or else it is IP
	proto    byte   // of IP
	from, to uint16 // ports
	hash     uint64 // of what does not change
	// Of TCP: a segment may be joined with others, or cut, on its way.
	seq, length uint32
	flags       byte
}

const (
	tcp  = 6
	udp  = 17
	fin  = 1
	syn  = 2
	rst  = 4
	ip4  = 0x0800
	arp  = 0x0806
	ip6  = 0x86dd
	vlan = 0x8100
)

var seed = maphash.MakeSeed()

// parse reads a frame.
func parse(b []byte, ethernet bool) packet {
	kind := uint16(ip4)
	if ethernet {
		if len(b) < 14 {
			return packet{}
		}
		kind, b = binary.BigEndian.Uint16(b[12:]), b[14:]
		if kind == vlan && len(b) >= 4 {
			kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		}
	} else if len(b) > 0 && b[0]>>4 == 6 {
		kind = ip6
	}
	switch {
	case kind == arp && len(b) >= 28:
		return packet{known: true, arp: true, hash: maphash.Bytes(seed, b[:28])}
	case kind == ip4 && len(b) >= 20:
		header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
		if total == 0 || total > len(b) { // a packet that is larger than the field can say, or cut
			total = len(b)
		}
		if header < 20 || header > total {
			return packet{}
		}
		fragment := binary.BigEndian.Uint16(b[6:])&0x1fff != 0
		return transport(b[9], b[header:total], fragment)
	case kind == ip6 && len(b) >= 40:
		total := 40 + int(binary.BigEndian.Uint16(b[4:]))
		if total == 40 || total > len(b) {
			total = len(b)
		}
		return transport(b[6], b[40:total], false)
	}
	return packet{}
}

// transport reads what IP carries.
func transport(proto byte, b []byte, fragment bool) packet {
	p := packet{known: true, proto: proto}
	var h maphash.Hash
	h.SetSeed(seed)
	sum := -1 // where the checksum is
	switch {
	case fragment:
	case proto == tcp && len(b) >= 20:
		p.from, p.to = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		p.seq, p.flags = binary.BigEndian.Uint32(b[4:]), b[13]
		if header := int(b[12]>>4) * 4; header <= len(b) {
			p.length = uint32(len(b) - header)
		}
		sum = 16
	case proto == udp && len(b) >= 8:
		p.from, p.to = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		sum = 6
	}
	if sum >= 0 {
		h.Write(b[:sum])
		b = b[sum+2:]
	}
	h.Write(b)
	h.WriteByte(proto)
	p.hash = h.Sum64()
	return p
}

// concerns says whether a packet is of a port, or needed to reach it.
func concerns(p packet, port uint16) bool {
	return p.arp || p.from == port || p.to == port
}
