package filter

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// header is the bytes of a header, and which of them are known.
type header struct {
	bytes []byte
	known []bool
}

func newHeader(size int) header { return header{make([]byte, size), make([]bool, size)} }

func (h header) put(at int, b ...byte) {
	for i, v := range b {
		h.bytes[at+i], h.known[at+i] = v, true
	}
}

func (h header) put16(at int, v uint16) { h.put(at, byte(v>>8), byte(v)) }

func (h header) putAddr(at int, a netip.Addr) {
	if a.Is4() {
		h.put(at, a.AsSlice()...)
	}
}

// Bits of TCP's flags.
const (
	tcpSYN = 0x02
	tcpPSH = 0x08
	tcpACK = 0x10
)

// flags are those of the segment: what goes over a connection pushes data.
func (p *Packet) flags() byte {
	switch {
	case p.Opens && p.Answer:
		return tcpSYN | tcpACK
	case p.Opens:
		return tcpSYN
	}
	return tcpPSH | tcpACK
}

// payload returns bytes of the packet's headers.
func (v *view) payload(e *expr.Payload) value {
	var h header
	switch {
	case e.Base == expr.PayloadBaseLLHeader:
		if v.in == "" && !v.link { // it has none yet
			return value{absent: true}
		}
		h = newHeader(14)
		if v.in != "" && len(v.MAC) == 6 {
			h.put(6, v.MAC...)
		}
		h.put16(12, v.etherType())
	case e.Base == expr.PayloadBaseNetworkHeader && v.ARP != 0:
		h = v.arp()
	case e.Base == expr.PayloadBaseNetworkHeader && e.Offset == 2 && e.Len == 2:
		lo, hi := v.length()
		return value{lo: binary.BigEndian.AppendUint16(nil, uint16(lo)), hi: binary.BigEndian.AppendUint16(nil, uint16(hi)), varies: sometimes}
	case e.Base == expr.PayloadBaseNetworkHeader:
		if v.network.bytes == nil {
			v.network = v.ipv4()
		}
		h = v.network
	case e.Base == expr.PayloadBaseTransportHeader && v.ARP != 0:
		return value{absent: true}
	case e.Base == expr.PayloadBaseTransportHeader:
		if v.anyPort(e) {
			return value{lo: []byte{firstPort >> 8, firstPort & 0xff}, hi: []byte{0xff, 0xff}, varies: perhaps, why: "a client's port"}
		}
		if v.transport.bytes == nil {
			v.transport = v.tcp()
		}
		h = v.transport
	default:
		return value{why: "the packet's data"}
	}
	return h.read(e.Offset, e.Len)
}

// anyPort says whether a port is asked for that a client may have any of.
func (v *view) anyPort(e *expr.Payload) bool {
	return e.Len == 2 && (e.Offset == 0 && v.from.Port() == 0 || e.Offset == 2 && v.to.Port() == 0)
}

func (h header) read(offset, length uint32) value {
	end := offset + length
	if end > uint32(len(h.bytes)) || end < offset {
		return value{why: "the packet's headers"}
	}
	for _, k := range h.known[offset:end] {
		if !k {
			return value{why: "the packet's headers"}
		}
	}
	return value{lo: h.bytes[offset:end]}
}

// firstPort is the first that a client may have which binds none: the kernel gives one
// of ip_local_port_range.
const firstPort = 1024

func (v *view) ipv4() header {
	const dontFragment = 0x4000
	h := newHeader(20)
	h.put(0, 0x45)
	h.put16(6, dontFragment)
	h.put(9, unix.IPPROTO_TCP)
	h.putAddr(12, v.from.Addr())
	h.putAddr(16, v.to.Addr())
	return h
}

func (v *view) tcp() header {
	h := newHeader(20)
	if v.from.Port() != 0 {
		h.put16(0, v.from.Port())
	}
	if v.to.Port() != 0 {
		h.put16(2, v.to.Port())
	}
	h.put(13, v.flags())
	return h
}

// arp is struct arphdr, and what follows it for IPv4 on Ethernet.
func (v *view) arp() header {
	h := newHeader(28)
	h.put(0, 0, 1, 8, 0, 6, 4) // Ethernet, IPv4, the lengths of their addresses
	h.put16(6, v.ARP)
	h.putAddr(14, v.from.Addr())
	h.putAddr(24, v.to.Addr())
	return h
}
