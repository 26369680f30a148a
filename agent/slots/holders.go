package slots

import (
	"maps"
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/clean"
	"tapwatch/internal/netns"
)

// Holder is a process that has a tap open.
type Holder struct {
	VMM
	Device netns.Device
	Tap    string       // its name
	In     netns.Cookie // the namespace of the process
	// Inherited says that another holder of the tap is its parent.
	Inherited bool
}

// TakeHolders takes a reading of all processes that hold taps. Asked are the places
// that it was made for; read is false where it failed, and nobody knows then.
func (s *Slots) TakeHolders(asked []Key, all []Holder, read bool) {
	of := map[netns.Device][]Holder{}
	by := map[Process][]Holder{}
	for _, h := range all {
		of[h.Device] = append(of[h.Device], h)
		by[h.Process] = append(by[h.Process], h)
	}
	for _, hs := range of {
		slices.SortFunc(hs, func(a, b Holder) int { return byAge(a.Process, b.Process) })
	}
	concerned, was := s.concerned(asked, of, by, read)
	s.each(concerned, func(p *place) {
		var hs []Holder
		if p.key.Claim == 0 {
			hs = of[p.key.Device]
		}
		s.setHolders(p, hs, by, read)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for sp := range s.claiming {
		if slices.ContainsFunc(sp.Claims, func(v VMM) bool { return was[v.Process] != s.holds[v.Process] }) {
			s.resolveAll(sp, time.Now()) // a VMM took a tap, or let go of its own
		}
	}
}

// concerned returns the places that were asked about, and those whose holders are
// others than before, and which processes held taps then.
func (s *Slots) concerned(asked []Key, of map[netns.Device][]Holder, by map[Process][]Holder, read bool) (all []*place, held map[Process]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	some := map[*place]struct{}{}
	for _, k := range asked {
		if p := s.find(k); p != nil {
			some[p] = struct{}{}
		}
	}
	if !read {
		return slices.Collect(maps.Keys(some)), s.holds
	}
	held = s.holds
	s.holds = make(map[Process]bool, len(by))
	for v := range by {
		s.holds[v] = true
	}
	for d, hs := range of {
		if p := s.taps[d]; p != nil && !sameHolders(p.holders, hs) {
			some[p] = struct{}{}
		}
	}
	for p := range s.taken {
		if of[p.key.Device] == nil {
			some[p] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(some)), held
}

func sameHolders(a, b []Holder) bool {
	return slices.EqualFunc(a, b, func(a, b Holder) bool {
		return a.Process == b.Process && a.In == b.In && a.Identity.SandboxID == b.Identity.SandboxID
	})
}

// setHolders takes who holds the tap of a place.
func (s *Slots) setHolders(p *place, hs []Holder, by map[Process][]Holder, read bool) {
	p.awaited = false
	p.holders, p.device.Holders = nil, nil
	delete(s.taken, p)
	if read && !s.cfg.SomeHolders && p.key.Ifindex != 0 {
		p.holders, p.device.Holders = []Holder{}, []path.Holder{} // nobody, which is not the same as unknown
	}
	now := time.Now()
	if hs = p.living(hs); len(hs) > 0 {
		p.holders = hs
		s.taken[p] = struct{}{}
		s.phase(p, path.TapAttached, now)
	}
	s.resolve(p, now)
	for i := range hs {
		p.device.Holders = append(p.device.Holders, s.holder(&hs[i]))
	}
	if p.stay != nil {
		s.noteBeside(p, hs)
		p.stay.held = nil
		if read && p.stay.vmm.PID != 0 { // a reading that lists a process lists all its taps
			p.stay.held = s.heldBy(p, by[p.stay.vmm.Process])
		}
	}
	s.touch(p)
}

// living returns the holders without the VMM of the place, once the kernel has reported
// its end: it does so before it closes the files.
func (p *place) living(hs []Holder) []Holder {
	if p.stay == nil || p.stay.vmm.exit == nil {
		return hs
	}
	return slices.DeleteFunc(slices.Clone(hs), func(h Holder) bool { return h.Process == p.stay.vmm.Process })
}

// withoutDead takes the VMM of a place, which has ended, from the holders of its tap.
func (s *Slots) withoutDead(p *place) {
	left := p.living(p.holders)
	if len(left) == len(p.holders) {
		return
	}
	p.holders, p.device.Holders = left, []path.Holder{}
	for i := range left {
		p.device.Holders = append(p.device.Holders, s.holder(&left[i]))
	}
	if len(left) == 0 {
		delete(s.taken, p)
	}
}

// noteBeside remembers who else holds the tap while the VMM does.
func (s *Slots) noteBeside(p *place, hs []Holder) {
	v := p.stay.vmm
	if !slices.ContainsFunc(hs, func(h Holder) bool { return h.Process == v.Process }) {
		return
	}
	v.beside, v.held, v.downs = nil, true, p.device.Downs
	for i := range hs {
		if hs[i].Process != v.Process {
			if v.beside == nil {
				v.beside = map[Process]bool{}
			}
			v.beside[hs[i].Process] = true
		}
	}
}

// holder puts what the kernel says of a process in the words of slots.
func (s *Slots) holder(h *Holder) path.Holder {
	out := path.Holder{PID: h.PID, Command: h.Command, SameNS: h.In == h.Device.Netns, Inherited: h.Inherited}
	if sp := s.spaces[h.In]; sp != nil {
		out.Netns = sp.Name
	}
	for p := range s.byVMM[h.PID] {
		if p.stay.vmm.Process == h.Process {
			out.SandboxID = p.stay.SandboxID
		}
	}
	return out
}

// heldMost bounds what is said of the taps that a VMM has open, of those in its
// namespace and of those elsewhere. It has one; by a fault a few. One process that is
// the VMM of a thousand slots would give a million lines.
const heldMost = 8

// heldBy names the taps that the VMM of a place has open.
func (s *Slots) heldBy(p *place, by []Holder) []path.HeldTap {
	held := []path.HeldTap{}
	here, elsewhere := 0, 0
	for _, h := range by {
		t := path.HeldTap{Device: clean.Label(h.Tap), Here: h.Device.Netns == p.key.Netns}
		n := &here
		if !t.Here {
			n = &elsewhere
		}
		if *n++; *n > heldMost {
			continue
		}
		if sp := s.spaces[h.Device.Netns]; sp != nil {
			t.Netns = sp.Name
		}
		held = append(held, t)
	}
	return held
}
