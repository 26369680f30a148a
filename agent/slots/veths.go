package slots

import (
	"cmp"
	"slices"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// veth is an end of a veth pair.
type veth struct {
	name    string
	up      bool
	carrier path.Tristate
	mtu     uint32
	mac     string
	noARP   bool
	peer    netns.Ifindex
}

func vethOf(l *Link) veth {
	return veth{name: l.Device.Name, up: l.Device.AdminUp == path.Yes, carrier: l.Device.Carrier, mtu: l.Device.MTU, mac: l.Device.MAC, noARP: l.Device.NoARP, peer: l.Peer}
}

// veths are the ends of veth pairs in a namespace, by number: one as a rule, for which a
// map takes ten times the room.
type veths []vethEnd

type vethEnd struct {
	index netns.Ifindex
	veth
}

func (v veths) get(i netns.Ifindex) (veth, bool) {
	for _, e := range v {
		if e.index == i {
			return e.veth, true
		}
	}
	return veth{}, false
}

func (v *veths) remove(i netns.Ifindex) {
	*v = slices.DeleteFunc(*v, func(e vethEnd) bool { return e.index == i })
}

func (v *veths) put(i netns.Ifindex, is veth) {
	v.remove(i)
	*v = append(*v, vethEnd{i, is})
}

// hostVeths are the ends of veth pairs in the agent's own namespace, and the
// namespaces of their other ends.
type hostVeths struct {
	read   bool // some link of the namespace was
	byName map[string]netns.Ifindex
	ends   map[netns.Ifindex]veth
	spaces map[netns.Ifindex]*space // of the other ends, by the host's
}

func newHostVeths() hostVeths {
	return hostVeths{byName: map[string]netns.Ifindex{}, ends: map[netns.Ifindex]veth{}, spaces: map[netns.Ifindex]*space{}}
}

func (h *hostVeths) unpair(sp *space) {
	for i, of := range h.spaces {
		if of == sp {
			delete(h.spaces, i)
		}
	}
}

// takeVeth takes a change of a link that may be an end of a veth pair of a slot.
func (s *Slots) takeVeth(sp *space, c Change) {
	if c.Of.Netns == s.cfg.Self {
		s.host.read = true
		was, had := s.host.ends[c.Of.Ifindex]
		if had {
			delete(s.host.byName, was.name)
			delete(s.host.ends, c.Of.Ifindex)
		}
		if c.New != nil && c.New.IsVeth {
			s.host.ends[c.Of.Ifindex] = vethOf(c.New)
			s.host.byName[c.New.Device.Name] = c.Of.Ifindex
		} else if !had {
			return
		}
		if of := s.host.spaces[c.Of.Ifindex]; of != nil {
			s.vethsChanged(of)
		}
		return
	}
	if sp == nil {
		return
	}
	was, had := sp.veths.get(c.Of.Ifindex)
	if c.New == nil || !c.New.IsVeth {
		if !had {
			return
		}
		sp.veths.remove(c.Of.Ifindex)
		if s.host.spaces[was.peer] == sp {
			delete(s.host.spaces, was.peer)
		}
	} else {
		sp.veths.put(c.Of.Ifindex, vethOf(c.New))
		s.host.spaces[c.New.Peer] = sp
	}
	s.vethsChanged(sp)
}

func (s *Slots) vethsChanged(sp *space) {
	for p := range sp.places {
		if s.lookVeth(p) {
			s.touch(p)
		}
	}
}

// lookVeth finds the veth pair of a place among the links, and reports whether it has
// changed. A pair is known by its other end, whatever its names; where the namespace
// has none, the plan names the host's end.
func (s *Slots) lookVeth(p *place) bool {
	sp := p.space
	v := path.Veth{}
	if sp.Cookie != s.cfg.Self {
		v = s.pair(sp)
	}
	if p.veth == v {
		return false
	}
	p.veth = v
	return true
}

func (s *Slots) pair(sp *space) (v path.Veth) {
	var inside veth
	there := false
	for _, end := range sp.veths { // the one whose other end is in the host
		host, ok := s.host.ends[end.peer]
		if ok && (!there || end.name < inside.name) {
			inside, there = end.veth, true
			v.Host, v.HostUp, v.HostMTU, v.HostMAC, v.HostNoARP = host.name, path.Known(host.up), host.mtu, host.mac, host.noARP
		}
	}
	if !there {
		// A name alone leads to expect a pair, and proves none.
		if sp.Plan == nil || sp.Plan.HostVeth == "" || sp.Plan.Assumed && sp.paired == "" {
			return v
		}
		v.Host = cmp.Or(sp.paired, sp.Plan.HostVeth)
		if s.host.read {
			i, known := s.host.byName[v.Host]
			v.HostUp = path.Known(known && s.host.ends[i].up)
			v.HostMTU = s.host.ends[i].mtu
		}
		if sp.linksRead && v.HostUp != path.No { // else a peer that has gone is the consequence
			v.PeerUp = path.No
		}
		return v
	}
	sp.paired = v.Host
	v.Peer, v.MTU, v.MAC, v.NoARP = inside.name, inside.mtu, inside.mac, inside.noARP
	if v.HostUp != path.No { // else a peer without carrier is the consequence
		v.PeerUp = path.Known(inside.up && inside.carrier != path.No)
	}
	return v
}
