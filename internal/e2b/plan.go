package e2b

import (
	"encoding/binary"
	"net/netip"
)

// MaxIndex is the last slot of a host under DefaultPlan.
const MaxIndex = 1<<15 - 1

// Plan is the IPv4 addresses that a host gives its slots, both prefixes of E2B's
// orchestrator (SANDBOXES_HOST_NETWORK_CIDR, SANDBOXES_VRT_NETWORK_CIDR).
type Plan struct {
	Host netip.Prefix // one address a slot, by which the host knows the sandbox
	VRT  netip.Prefix // a /31 a slot, for its veth pair
}

// DefaultPlan is E2B's where nothing else is said.
func DefaultPlan() Plan {
	return Plan{
		Host: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 11, 0, 0}), 16),
		VRT:  netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 12, 0, 0}), 16),
	}
}

// Slot is the names and addresses of one slot that differ from slot to slot.
type Slot struct {
	HostVeth string     // the host's end of the veth pair
	HostIP   netip.Addr // by which the host may know the sandbox; routed through VpeerIP
	VethIP   netip.Addr // of HostVeth, a /31 with VpeerIP
	VpeerIP  netip.Addr // of the namespace's end, where a relay listens
}

// Slot is the slot of number i, from 1; ok is false where the plan has no
// addresses for it.
func (p Plan) Slot(i int) (s Slot, ok bool) {
	if i < 1 {
		return Slot{}, false
	}
	s.HostVeth = HostVeth(i)
	var has [3]bool
	s.HostIP, has[0] = nth(p.Host, uint64(i))
	s.VethIP, has[1] = nth(p.VRT, 2*uint64(i))
	s.VpeerIP, has[2] = nth(p.VRT, 2*uint64(i)+1)
	if has != [3]bool{true, true, true} {
		return Slot{}, false
	}
	return s, true
}

// nth is address n of an IPv4 prefix.
func nth(p netip.Prefix, n uint64) (netip.Addr, bool) {
	if !p.IsValid() || !p.Addr().Is4() || n >= 1<<(32-p.Bits()) {
		return netip.Addr{}, false
	}
	b := p.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
	return netip.AddrFrom4(b), true
}
