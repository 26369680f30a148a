package topology

import (
	"net/netip"

	"tapwatch/agent/filter"
)

// rule is a DNAT rule that leads to the tap's network.
type rule struct {
	of netip.Addr // destination of the packets that it takes; not valid: any
	to netip.Addr // the destination that it gives them
}

// findRules keeps the namespace's DNAT rules that lead to the tap's network and are for
// the service's port.
func (r *reader) findRules() error {
	all, err := filter.DNATs()
	if err != nil {
		return err
	}
	for _, d := range all {
		forPort := r.tap.Port == 0 || d.Ports[0] <= r.tap.Port && r.tap.Port <= d.Ports[1] || d.Port == r.tap.Port
		if !forPort || !r.reaches(d.To) {
			continue
		}
		of := netip.Addr{}
		if d.Of.IsSingleIP() {
			of = d.Of.Addr()
		}
		r.rules = append(r.rules, rule{of, d.To})
	}
	return nil
}

// reaches says whether packets to an address leave by the tap, or by its bridge.
func (r *reader) reaches(to netip.Addr) bool {
	for _, p := range r.TapAddrs {
		if p.Addr() == to {
			return false // the host's own end
		}
	}
	for _, p := range r.TapAddrs {
		if p.Masked().Contains(to) {
			return true
		}
	}
	way, ok, err := r.in.route(to)
	return err == nil && ok && !way.local && way.oif == r.l3
}

// findGuest takes the guest's address from whoever is trusted most.
func (r *reader) findGuest() {
	candidates := []Addr{{r.tap.Record, FromRecord}, {r.tap.VMM, FromVMM}, {r.tap.Frames, FromFrames}}
	if to := r.ruleTo(); to.IsValid() {
		candidates = append(candidates, Addr{to, FromDNAT})
	}
	candidates = append(candidates, Addr{r.neighbour, FromNeighbour}, Addr{otherAddress(r.TapAddrs), FromSubnet}, Addr{r.tap.Plan, FromPlan})
	for _, a := range candidates {
		if a.IsValid() {
			r.Guest = a
			return
		}
	}
}

// ruleTo is where the DNAT rules lead; not valid where there is none, or they lead to
// several guests.
func (r *reader) ruleTo() (to netip.Addr) {
	for _, d := range r.rules {
		if to.IsValid() && d.to != to {
			return netip.Addr{}
		}
		to = d.to
	}
	return to
}

// otherAddress is the only host's address besides our own in the tap's network: that of
// a /30 or a /31. Not valid: there is none such, or more than one.
func otherAddress(addrs []netip.Prefix) (other netip.Addr) {
	for _, p := range addrs {
		if !p.Addr().Is4() {
			continue
		}
		four := p.Addr().As4()
		switch p.Bits() {
		case 31:
			four[3] ^= 1
		case 30:
			if four[3]&3 == 0 || four[3]&3 == 3 { // the network's own and the broadcast address
				continue
			}
			four[3] ^= 3
		default:
			continue
		}
		if other.IsValid() {
			return netip.Addr{}
		}
		other = netip.AddrFrom4(four)
	}
	return other
}
