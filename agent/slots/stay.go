package slots

import (
	"net/netip"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// Identity is who somebody is, by the rules of the agent or by a record. What is not
// known is empty.
type Identity struct {
	SandboxID  string
	Name       string // for people
	TemplateID string
	Team       string
	Labels     map[string]string
	Launcher   string // the rule that knows it, or tapwatch for a record
	Socket     string // of the VMM's API
	Console    string // a log file
	// Tap is the name of the tap that the launcher means it to have.
	Tap string
	// Guest is the address that guests of the launcher usually have; not valid: unknown.
	Guest netip.Addr
	// Direct says that a VMM of this launcher is nothing without a tap.
	Direct bool
	// Ignore says that nobody wants to hear of what this process holds.
	Ignore bool
	// Silence is a time in which a rule wants no alarm; zero: none.
	Silence path.Silence
}

// occupant is who is at a place, as records, holders and claims say at one moment.
type occupant struct {
	Identity
	BuildID, TemplateDir string

	foreign bool
	once    bool           // the agent looks once: it waits for nothing
	record  Record         // zero of a foreign one
	state   registry.State // empty: unknown
	shape   registry.Shape // empty: unknown
	created time.Time
	vmm     VMM
	alive   path.Tristate // the VMM, as far as the source knows
	orphan  *path.Orphan
}

// stay is one sandbox at a place.
type stay struct {
	occupant
	serial uint64
	began  time.Time // when it was first known
	vmm    *vmm

	relay      path.Listener
	template   *path.Template // nil: unknown
	health     path.Health    // of envd, asked at the tap; zero: not asked
	through    path.Health    // the same through the whole path
	asked      asked
	seen       traffic
	ofRelay    requests // asked of the relay
	ofGuest    requests
	loss       *path.Loss     // nil: none was found
	dropped    []path.Dropped // by the kernel, as it was found then
	traced     time.Time      // when it was looked for a loss last
	inspection *Inspection    // what the last close look found; nil: there was none
	held       []path.HeldTap // by the VMM; nil: unknown
	boot       *path.Boot

	failingSince time.Time         // that its clients have got nothing; zero: they get something
	upSince      time.Time         // that it is no longer on its way up, where that was seen; zero: it was not
	inspected    time.Time         // when the close look began
	endingSince  time.Time         // that its launcher is removing it; zero: it is not
	open         map[string]opened // findings that were reported and not cleared, by code
	wasUp        bool              // its launcher has called it so
	failed       bool              // its path was broken once
	// suspected are findings that are not reported yet, by code: true once what they
	// rest on has been read anew. Nil mostly.
	suspected map[string]bool
}

// is says whether an occupant is the sandbox of this stay.
func (st *stay) is(o *occupant) bool {
	return st != nil && st.SandboxID == o.SandboxID && st.foreign == o.foreign
}

// begin has a sandbox come to a place.
func (s *Slots) begin(p *place, o *occupant, now time.Time) {
	s.stays++
	p.stay = &stay{occupant: *o, serial: s.stays, began: now, vmm: &vmm{}, open: map[string]opened{}}
	s.bound[p], s.unheard[p] = struct{}{}, struct{}{}
	s.bindings.Add(1)
	p.hooks.fresh = false // an idle tap's reading may be old
	s.tell(p, now, path.Bound, "sandbox bound to the slot")
	p.stay.countState()
	s.takeVMM(p, o)
	s.noteEnding(p, now)
	s.bootBegins(p)
	s.touch(p)
	s.cfg.Ask(Inspect, p.key)
	s.cfg.Ask(Listen)
}

// goOn takes what has changed of the sandbox at a place.
func (s *Slots) goOn(p *place, o *occupant, now time.Time) {
	if p.stay.state == registry.Booting && o.state != registry.Booting {
		p.stay.upSince = time.Now()
		p.stay.ofRelay.over, p.stay.ofGuest.over = p.stay.upSince, p.stay.upSince
	}
	p.stay.occupant = *o
	p.stay.countState()
	s.takeVMM(p, o)
	s.noteEnding(p, now)
	s.phasesOfRecord(p, now)
}

// end has the sandbox leave its place. What the hooks counted for it must not speak
// for the next one, so they begin anew.
func (s *Slots) end(p *place, now time.Time) {
	e := p.event(now, path.Unbound, "sandbox gone, the slot is idle or another's")
	s.countEnd(p)
	s.bootEnds(p)
	kept := s.keep(p, now)
	s.forgetVMM(p)
	s.freeID(p.stay)
	p.stay, p.diagnosis, p.device.MACWas, p.guest = nil, path.Diagnosis{}, "", netip.Addr{}
	for _, set := range []map[*place]struct{}{s.bound, s.unheard, s.restless, s.troubled, s.waiting, s.asking, s.boots, s.leaving, s.paused} {
		delete(set, p)
	}
	s.bindings.Add(1)
	s.cfg.Publish(e)
	s.unhook(p, kept)
	s.wantHooks(p)
	s.touch(p)
}

// endingPatience is how long a launcher may take to remove a sandbox before what is
// broken of it is reported all the same.
const endingPatience = 15 * time.Second

func (s *Slots) noteEnding(p *place, now time.Time) {
	switch st := p.stay; {
	case st.state != registry.Ending:
		st.endingSince = time.Time{}
	case st.endingSince.IsZero():
		st.endingSince = now
	}
}

// reapPatience is how long a launcher may take to wait for a VMM that it ended.
const reapPatience = 2 * time.Second

// endsByItself says whether the VMM of a foreign sandbox ended as was wanted.
func (st *stay) endsByItself() bool {
	return st.foreign && st.vmm.exit != nil && st.vmm.exit.Wanted
}

// awaitsExit says whether the VMM of a foreign sandbox is gone and nothing has told yet
// how it ended: what the kernel reports, or else that its launcher takes the rest away.
func (st *stay) awaitsExit() bool {
	return st.foreign && !st.once && st.vmm.exit == nil && !st.vmm.goneSince.IsZero()
}

// endingAt says whether the sandbox is being removed. A foreign launcher says nothing
// of it: that it ended the VMM does. How that ended may be reported a moment after the
// VMM, or the tap that went with it, is seen to be gone.
func (st *stay) endingAt(now time.Time) bool {
	switch {
	case st.awaitsExit():
		return now.Sub(st.vmm.goneSince) < exitAwaited
	case st.endsByItself():
		return now.Sub(st.vmm.exit.Time) < reapPatience
	}
	return !st.endingSince.IsZero() && now.Sub(st.endingSince) < endingPatience
}

// foreignBootGrace is how long a sandbox of another launcher may be broken before it
// is called so.
const foreignBootGrace = 30 * time.Second

// booting says whether the sandbox is on its way up. Our launcher says so; of a
// foreign one only its age is known.
func (st *stay) booting(now time.Time) bool {
	if st.state != "" {
		return st.state == registry.Booting
	}
	return !st.created.IsZero() && now.Sub(st.created) < foreignBootGrace
}
