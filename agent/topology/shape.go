package topology

import (
	"net/netip"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// findShape takes the DNAT rule that leads to the guest, and says what the devices alone
// tell of the shape.
func (r *reader) findShape() {
	leads := false
	for _, d := range r.rules {
		its := d.to == r.Guest.Addr
		if leads && !its {
			continue
		}
		if its || !r.DNATTo.IsValid() {
			r.DNATTo, r.HostIP = d.to, Addr{d.of, FromDNAT}
		}
		leads = leads || its
		if its && d.of.IsValid() {
			break
		}
	}
	if r.DNATTo.IsValid() && !r.HostIP.IsValid() { // the rule takes whatever comes in
		r.HostIP = Addr{r.Vpeer.Addr, FromDNAT}
	}
	if !r.HostIP.IsValid() {
		r.HostIP = Addr{}
	}
	switch {
	case leads:
		r.Shape = registry.DNAT
	case r.Bridge != "":
		r.Shape = registry.Bridged
	case r.OwnNS && len(r.TapAddrs) > 0:
		r.Shape = registry.Routed
	}
}

// Decide says how requests reach the guest, once it is known whether a process in the
// namespace listens for them at the vpeer. A relay is taken before a DNAT rule: E2B's
// slots keep their rule where a relay was put beside it. Empty: not known.
func Decide(t Topology, hasRelay path.Tristate) registry.Shape {
	if t.OwnNS {
		return t.Shape
	}
	switch hasRelay {
	case path.Yes:
		return registry.Relay
	case path.No:
		return t.Shape
	}
	return ""
}

// findClient asks the host how it reaches the guest: by the rule's address, by the
// guest's own, or as far as the vpeer. A host that sends to the guest's own address by
// the veth pair has the namespace route it: that is a shape as well.
func (r *reader) findClient() error {
	if r.OwnNS {
		way, _, err := r.hostRoute(r.Guest.Addr)
		r.ClientSource = way.source
		return err
	}
	if r.Shape == "" && r.Host.Ifindex != 0 {
		way, ok, err := r.hostRoute(r.Guest.Addr)
		if err != nil {
			return err
		}
		if ok && way.oif == r.Host.Ifindex {
			r.Shape, r.ClientSource = registry.Routed, way.source
			return nil
		}
	}
	to := r.HostIP.Addr
	if !to.IsValid() {
		to = r.Vpeer.Addr
	}
	way, _, err := r.hostRoute(to)
	r.ClientSource = way.source
	return err
}

// hostRoute asks the host for its way to an address, where that is known.
func (r *reader) hostRoute(to netip.Addr) (way route, ok bool, err error) {
	if !to.IsValid() {
		return way, false, nil
	}
	return r.host.route(to)
}
