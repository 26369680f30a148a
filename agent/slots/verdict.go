package slots

import (
	"slices"
	"time"

	"tapwatch/agent/path"
)

// Case is a place whose facts have changed since it was judged last.
type Case struct {
	Facts path.Facts           // as others may read them
	Known map[string]time.Time // the findings that were reported, by code, and since when
	// Blind says that another program hides the frames of the tap from the hooks: what
	// they counted then is no evidence.
	Blind bool

	place   *place
	stay    *stay
	version uint64
}

// casesMost is how many cases are handed out at a time.
const casesMost = 16

// touch notes that the facts of a place have changed.
func (s *Slots) touch(p *place) {
	p.changed()
	if p.key.Claim == 0 && p.space != nil {
		for q := range p.space.besides { // what is so of the tap is so for those that want it
			if q.key.Device == p.key.Device {
				s.touch(q)
			}
		}
	}
	if p.stay == nil {
		s.looseByName = nil
		s.judgeEmpty(p)
		return
	}
	if p.awaited { // then what is known is not the whole truth
		return
	}
	s.due[p] = struct{}{}
	s.cfg.Ask(Judge)
}

func (p *place) changed() {
	p.view = nil
	p.version++
}

// judgeEmpty says how a place stands that has no sandbox.
func (s *Slots) judgeEmpty(p *place) {
	state := path.Empty(&p.device)
	if p.stranger != nil {
		state = path.Unidentified
	}
	p.diagnosis = path.Diagnosis{State: state, Hops: noHops, Findings: noFindings}
	delete(s.due, p)
}

// They are shared by thousands of idle taps.
var (
	noHops     = []path.HopState{}
	noFindings = []path.Finding{}
)

// Cases returns some of the places whose facts have changed; none: no more have.
func (s *Slots) Cases() (some []Case) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for p := range s.due {
		if len(some) == casesMost {
			break
		}
		delete(s.due, p)
		some = append(some, Case{Facts: s.facts(p, now), Known: p.stay.known(), Blind: p.blind, place: p, stay: p.stay, version: p.version})
	}
	return some
}

// TakeVerdict takes what follows from the facts of a case, and reports what is new.
// Passing says that time alone may end one of the findings.
func (s *Slots) TakeVerdict(c Case, d path.Diagnosis, passing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := c.place
	if p.space == nil || p.stay != c.stay {
		return
	}
	s.report(p, &d, c.Facts.Now)
	p.diagnosis = d
	switch failing := c.Facts.Requests.Failing(c.Facts.Now); {
	case !failing && !p.stay.failingSince.IsZero():
		p.stay.failingSince, p.stay.ofRelay.over, p.stay.ofGuest.over = time.Time{}, c.Facts.Now, c.Facts.Now
	case !failing:
	case p.stay.failingSince.IsZero():
		p.stay.failingSince = c.Facts.Now
	}
	if p.version == c.version {
		p.view = &path.Slot{Facts: c.Facts, Diagnosis: d}
	}
	s.sort(p, passing)
	s.notePause(p, &c.Facts)
}

// notePause notes whether the VM of a place is paused, and reports where that changes.
func (s *Slots) notePause(p *place, f *path.Facts) {
	by := f.PausedBy()
	switch was := s.isPaused(p); {
	case by != "" && !was:
		s.paused[p] = struct{}{}
		s.tell(p, f.Now, path.VMPaused, "the VM is paused, by "+by.String())
	case by == "" && was:
		delete(s.paused, p)
		if f.Sandbox.VMMAlive != path.No {
			s.tell(p, f.Now, path.VMResumed, "the VM goes on")
		}
	}
}

// known returns the findings that were reported and not cleared, by code, and since
// when they are.
func (st *stay) known() map[string]time.Time {
	if len(st.open) == 0 {
		return nil
	}
	known := make(map[string]time.Time, len(st.open))
	for code, was := range st.open {
		known[code] = was.since
	}
	return known
}

// opened is a finding that was reported and not cleared.
type opened struct {
	hop      path.Hop
	severity path.Severity
	since    time.Time
}

// report makes events of the findings that came and of those that went. One that is
// unknown now is not cleared: it is once it is known to have gone. Of a sandbox that
// is being removed nothing is.
func (s *Slots) report(p *place, d *path.Diagnosis, now time.Time) {
	open := p.stay.open
	found := make(map[string]bool, len(d.Findings))
	for i := range d.Findings {
		f := &d.Findings[i]
		found[f.Code] = true
		was, reported := open[f.Code]
		worse := reported && was.severity != f.Severity && f.Severity == path.Critical
		if !reported {
			was.since = now
		}
		was.hop, was.severity = f.Hop, f.Severity
		open[f.Code] = was
		if !reported || worse {
			s.tell(p, now, path.Problem, f.Code+" at "+string(f.Hop)+": "+f.Cause)
		}
		f.Since = was.since
	}
	if d.State == path.Idle {
		return
	}
	for code, was := range open {
		if !found[code] && !slices.Contains(d.Undecided, code) {
			delete(open, code)
			s.tell(p, now, path.Cleared, code+" at "+string(was.hop))
		}
	}
}

// sort puts a place into the sets that passes go over.
func (s *Slots) sort(p *place, passing bool) {
	st := p.stay
	put := func(set map[*place]struct{}, in bool) {
		if in {
			set[p] = struct{}{}
		} else {
			delete(set, p)
		}
	}
	put(s.troubled, p.isTroubled())
	put(s.waiting, p.waits())
	put(s.restless, p.diagnosis.State == path.Booting || st.booting(time.Now()) || !st.endingSince.IsZero() || st.endsByItself() || st.awaitsExit() || passing || p.waits() || s.contested(p))
}

// contested says whether others hold the tap of a VMM that runs and does not: for a
// moment that is as it should be.
func (s *Slots) contested(p *place) bool {
	v, at := p.stay.vmm, p
	if p.key.Claim != 0 {
		if at = s.taps[p.key.Device]; at == nil {
			return false
		}
	}
	return v.PID != 0 && v.alive == path.Yes && at.device.Carrier == path.Yes && len(at.holders) > 0 &&
		!slices.ContainsFunc(at.holders, func(h Holder) bool { return h.PID == v.PID })
}
