package topology

import (
	"fmt"
	"net/netip"

	"tapwatch/internal/netns"
)

// outside is an address that is nobody's (RFC 5737): its way is the default one.
var outside = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// findVpeer finds the veth that leads out of the namespace: that of the default route,
// also where a bridge is between the two, else the only one whose other end is in the
// host, else the only one whose other end is in another namespace. Names say nothing.
func (r *reader) findVpeer() error {
	links, err := r.in.links()
	if err != nil {
		return err
	}
	var veths []link
	for _, l := range links {
		if l.kind == "veth" && l.elsewhere && l.index != r.tap.Ifindex {
			veths = append(veths, l)
		}
	}
	if len(veths) == 0 {
		return nil
	}
	// Asked only now: the kernel gives a namespace a number when it first names it.
	host, err := netns.NSIDOf(r.in.conn, r.self)
	if err != nil {
		return fmt.Errorf("find the host's number: %w", err)
	}
	inHost := func(l link) bool { return host != netns.NoNSID && l.peerNSID == host }
	way, ok, err := r.in.route(outside)
	if err != nil {
		return err
	}
	l, found := only(veths, func(l link) bool { return ok && (l.index == way.oif || l.master == way.oif) })
	if !found {
		l, found = only(veths, inHost)
	}
	if !found {
		l, found = only(veths, func(link) bool { return true })
	}
	if !found {
		return fmt.Errorf("choose between %d veth pairs: none has the default route", len(veths))
	}
	r.Vpeer = Vpeer{Name: l.name, Ifindex: l.index}
	if inHost(l) {
		r.peer = l.peer
	}
	r.Vpeer.Addr, err = addressOf(r.in, l, netip.Addr{})
	return err
}

// only returns the one link that fits; false where there is none, or more than one.
func only(links []link, fits func(link) bool) (one link, ok bool) {
	for _, l := range links {
		if !fits(l) {
			continue
		}
		if ok {
			return link{}, false
		}
		one, ok = l, true
	}
	return one, ok
}

// addressOf returns the address of a device, else that of the bridge that it is a port
// of: the one in the network of an address, else the first.
func addressOf(a asker, l link, near netip.Addr) (netip.Addr, error) {
	addrs, err := a.addresses(l.index)
	if err == nil && len(addrs) == 0 && l.master != 0 {
		addrs, err = a.addresses(l.master)
	}
	if err != nil || len(addrs) == 0 {
		return netip.Addr{}, err
	}
	for _, p := range addrs {
		if near.IsValid() && p.Masked().Contains(near) {
			return p.Addr(), nil
		}
	}
	return addrs[0].Addr(), nil
}

// hostEnd reads the other end of the vpeer in the host.
func (r *reader) hostEnd() error {
	if r.peer == 0 {
		return nil
	}
	l, err := r.host.link(r.peer)
	if err != nil {
		return err
	}
	if l.kind != "veth" || l.peer != r.Vpeer.Ifindex {
		return nil // the pair went, and another device has its number
	}
	r.Host = Host{Veth: l.name, Ifindex: l.index}
	r.Host.Addr, err = addressOf(r.host, l, r.Vpeer.Addr)
	return err
}
