package slots

import (
	"slices"
	"strconv"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Who is at a place is found anew from what is known whenever any of it changes: the
// record of our launcher first, then the process that holds the tap, then a process
// that claims it.

// resolveAll finds anew who is at each place of a namespace.
func (s *Slots) resolveAll(sp *space, now time.Time) {
	s.expect(sp, now)
	s.assign(sp, now)
	for p := range sp.places {
		s.resolve(p, now)
	}
}

// resolve finds anew who is at a place.
func (s *Slots) resolve(p *place, now time.Time) {
	var o *occupant
	var stranger *Holder
	if p.ignored = s.ignores(p); !p.ignored {
		o, stranger = s.occupant(p)
	}
	p.stranger = stranger
	switch {
	case o != nil && p.stay.is(o):
		delete(s.leaving, p)
		s.goOn(p, o, now)
	case o != nil:
		if p.stay != nil {
			s.end(p, now)
		}
		s.begin(p, o, now)
	case p.ignored && p.stay == nil:
		s.unhook(p, nil)
	case p.stay != nil && (p.ignored || stranger != nil || !s.departs(p, now)):
		s.end(p, now)
	}
}

// ignores says whether nobody wants to hear of a tap.
func (s *Slots) ignores(p *place) bool {
	holder := ""
	if h := p.holding(); h != nil {
		if h.Identity.Ignore {
			return true
		}
		holder = h.Command
	}
	return s.cfg.Ignored != nil && s.cfg.Ignored(p.space.Name, p.device.Name, holder)
}

// occupant says who is at a place. Where somebody holds the tap whose sandbox no rule
// knows, it is that stranger.
func (s *Slots) occupant(p *place) (*occupant, *Holder) {
	if p.key.Claim == 0 {
		if r := p.record(); r != nil {
			return p.recorded(r), nil
		}
		if h := p.holding(); h != nil {
			switch {
			case p.space.launches(&h.VMM): // its record is about to be read
				return nil, nil
			case h.Identity.SandboxID != "":
				return s.claimed(p, &h.VMM), nil
			case p.claimant == nil:
				return nil, h
			} // else a stranger holds the tap that a VMM wants
		}
	}
	if p.claimant != nil {
		return s.claimed(p, p.claimant), nil
	}
	return nil, nil
}

// record is the sandbox that the record of its launcher has at a place; nil: none.
func (p *place) record() *Recorded {
	plan := p.space.Plan
	if plan == nil || plan.Sandbox == nil || p.device.Name != plan.Tap && p.device.WasCalled != plan.Tap {
		return nil
	}
	return plan.Sandbox
}

func (p *place) recorded(r *Recorded) *occupant {
	o := &occupant{Identity: r.Identity, record: r.Record, BuildID: r.BuildID, TemplateDir: r.TemplateDir,
		state: r.State, shape: r.Shape, created: r.Created, vmm: VMM{Process: r.VMM, Started: r.VMMStarted}, alive: r.VMMAlive}
	for i := range p.holders {
		if p.holders[i].Process == r.VMM {
			o.vmm = p.holders[i].VMM
		}
	}
	if plan := p.space.Plan; plan.OwnerAlive == path.No {
		o.orphan = &path.Orphan{LauncherPID: plan.OwnerPID, Since: p.space.orphanSince}
	}
	return o
}

// claimed is the sandbox of a foreign VMM.
func (s *Slots) claimed(p *place, v *VMM) *occupant {
	o := &occupant{Identity: v.Identity, foreign: true, once: s.cfg.NoHooks, created: v.Started, vmm: *v, alive: path.Yes}
	if v.Zombie {
		o.alive = path.No
	}
	o.SandboxID = s.unique(p, o.SandboxID, v.Process)
	return o
}

// holding returns the process that holds the tap and is its VMM; nil: none does, or
// that is unknown. The VMM of the present sandbox stays it as long as it holds the
// tap. What was forked by another holder is none, and what inherited the tap from a
// VMM that has ended is none either.
func (p *place) holding() *Holder {
	var of *vmm
	if p.stay != nil && p.stay.foreign {
		for i := range p.holders {
			if p.holders[i].Process == p.stay.vmm.Process {
				return &p.holders[i]
			}
		}
		of = p.stay.vmm
	}
	var best *Holder
	for i := range p.holders { // the eldest first
		h := &p.holders[i]
		if h.Inherited || of != nil && of.inherits(h, p.device.Downs) {
			continue
		}
		if best == nil || best.Identity.SandboxID == "" && h.Identity.SandboxID != "" {
			best = h
		}
	}
	return best
}

// assign finds which tap each claimant wants: a process that says it is a VMM and holds
// no tap. Where another holds that tap, the claimant gets a place of its own beside it.
func (s *Slots) assign(sp *space, now time.Time) {
	wanted := map[*place]bool{}
	for p := range sp.places {
		p.claimant = nil
	}
	claims := slices.SortedFunc(slices.Values(sp.Claims), func(a, b VMM) int { return byAge(a.Process, b.Process) })
	for i := range claims {
		// One that has ended is seen among the processes for a while yet.
		_, dead := s.dead[claims[i].Process]
		if c := &claims[i]; !dead && c.Identity.SandboxID != "" && !s.holds[c.Process] && !sp.records(c) {
			if p := s.wants(sp, c); p != nil {
				p.claimant = c
				wanted[p] = true
			}
		}
	}
	for p := range sp.places {
		if p.key.Claim != 0 && !wanted[p] && (p.stay == nil || p.stay.vmm.alive != path.No) {
			s.drop(p, now)
		}
	}
}

// wants returns the place of a VMM that holds no tap: that of the tap it is meant to
// have; nil: there is none.
func (s *Slots) wants(sp *space, c *VMM) *place {
	name := c.Identity.Tap
	if sp.Plan != nil {
		name = sp.Plan.Tap
	}
	p := sp.tap(name)
	if p == nil {
		p = sp.absent
	}
	if p == nil && len(sp.places) == 1 {
		for p = range sp.places { // it is the only one there
		}
	}
	if p == nil {
		return s.nowhere(sp, c)
	}
	h := p.holding()
	free := p.claimant == nil && p.record() == nil && (h == nil || h.Identity.SandboxID == "")
	if free && (p.stay == nil || !p.stay.foreign || p.stay.vmm.Process == c.Process || p.stay.vmm.alive == path.No) {
		return p
	}
	return s.beside(sp, Key{Device: p.key.Device, Claim: c.PID}, p.device.Name)
}

// nowhere returns the place of a VMM without a known tap; nil in the agent's own
// namespace, and for a VMM that may well have no tap at all.
func (s *Slots) nowhere(sp *space, c *VMM) *place {
	if sp.Cookie == s.cfg.Self || !c.Identity.Direct {
		return nil
	}
	return s.beside(sp, Key{Device: netns.Device{Netns: sp.Cookie}, Claim: c.PID}, c.Identity.Tap)
}

// beside returns the place that a VMM has beside that of a tap.
func (s *Slots) beside(sp *space, k Key, tap string) *place {
	if p := s.find(k); p != nil {
		return p
	}
	p := &place{key: k, space: sp, device: path.Device{Name: tap}}
	sp.places[p] = struct{}{}
	if sp.besides == nil {
		sp.besides = map[*place]struct{}{}
	}
	sp.besides[p] = struct{}{}
	s.order = nil
	return p
}

// records says whether a process is the VMM of the recorded sandbox of the namespace,
// or is just being started as it.
func (sp *space) records(v *VMM) bool {
	return sp.Plan != nil && sp.Plan.Sandbox != nil && sp.Plan.Sandbox.VMM == v.Process || sp.launches(v)
}

// launches says whether the launcher of the namespace started a process.
func (sp *space) launches(v *VMM) bool {
	return sp.Plan != nil && sp.Plan.OwnerPID != 0 && sp.Plan.OwnerPID == v.Parent
}

// unique returns the id by which a sandbox is known here. Of two VMMs with one id the
// second gets another, so that their series differ. One that takes over the place of
// another takes its id too.
func (s *Slots) unique(p *place, id string, v Process) string {
	for n := 1; ; n++ {
		as := id
		if n > 1 {
			as += "~" + strconv.Itoa(n)
		}
		owner, taken := s.ids[as]
		if !taken || owner == v || p.stay != nil && p.stay.vmm.Process == owner {
			s.ids[as] = v
			return as
		}
	}
}

// freeID gives back the id of a sandbox that leaves a place, unless its VMM has
// another.
func (s *Slots) freeID(st *stay) {
	if st.foreign && s.ids[st.SandboxID] == st.vmm.Process && len(s.byVMM[st.vmm.PID]) == 0 {
		delete(s.ids, st.SandboxID)
	}
}
