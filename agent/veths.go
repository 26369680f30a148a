package agent

import (
	"tapwatch/agent/link"
	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
)

// hostLinkChanged takes a change of a link of our own namespace: it may be the
// host's end of a slot's veth pair.
func (m *model) hostLinkChanged(c link.Change) *slot {
	var s *slot
	if c.Old != nil {
		delete(m.hostLinks, c.Old.Name)
		s = m.byVeth[c.Old.Name]
	}
	if c.New != nil {
		m.hostLinks[c.New.Name] = c.New
		if of := m.byVeth[c.New.Name]; of != nil {
			s = of
		}
	}
	if s == nil || !m.lookVeth(s) {
		return nil
	}
	return s
}

// lookVeth reads the slot's veth pair from the state of links, and reports
// whether it has changed.
func (m *model) lookVeth(s *slot) bool {
	v := path.Veth{Host: s.entry.Binding.HostVeth}
	if v.Host != "" && len(m.hostLinks) > 0 { // there is always lo, once they were read
		l := m.hostLinks[v.Host]
		v.HostUp = path.Known(l != nil && l.AdminUp)
		if l != nil {
			v.HostMTU = l.MTU
		}
	}
	if l, known := m.links.Find(s.entry.Cookie, e2b.Vpeer); known && v.Host != "" {
		v.Peer = e2b.Vpeer
		if l != nil {
			v.MTU = l.MTU
		}
		if v.HostUp != path.No { // else a peer without carrier is the consequence
			v.PeerUp = path.Known(l != nil && l.AdminUp && carrierOf(l) != path.No)
		}
	}
	if s.veth == v {
		return false
	}
	s.veth = v
	s.changed()
	return true
}

// boundVeth notes which host veth is the slot's.
func (m *model) boundVeth(s *slot, old string) {
	name := s.entry.Binding.HostVeth
	if old != name && m.byVeth[old] == s {
		delete(m.byVeth, old)
	}
	if name != "" {
		m.byVeth[name] = s
	}
	m.lookVeth(s)
}
