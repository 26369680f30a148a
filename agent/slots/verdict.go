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
//
// A finding that is new is not taken at once: each fact was read at its own time, and
// some may be older than what the launcher has done since. Again is then the sandbox of
// which the facts are to be read anew, before Confirm; nil: the verdict was taken.
func (s *Slots) TakeVerdict(c Case, d path.Diagnosis, passing bool) (again *Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := c.place
	if p.space == nil || p.stay != c.stay {
		return nil
	}
	if p.stay.suspects(&d) {
		s.forgetEarlier(p)
		s.restless[p] = struct{}{} // should nobody confirm it
		t := s.target(p)
		return &t
	}
	p.stay.suspected = nil
	s.report(p, &d, &c.Facts)
	s.countVerdict(p.stay, p.diagnosis.State, &d)
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
	return nil
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

// suspects notes the findings that are new, and says whether there is one whose facts
// have not been read anew since it was first found.
func (st *stay) suspects(d *path.Diagnosis) (some bool) {
	var now map[string]bool
	for i := range d.Findings {
		code := d.Findings[i].Code
		if _, reported := st.open[code]; !reported {
			if now == nil {
				now = map[string]bool{}
			}
			now[code] = st.suspected[code]
			some = some || !now[code]
		}
	}
	st.suspected = now
	return some
}

// Confirm takes that the facts of a sandbox have been read anew: what is found now is
// so.
func (s *Slots) Confirm(t Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(t)
	if p == nil {
		return
	}
	for code := range p.stay.suspected {
		p.stay.suspected[code] = true
	}
	s.touch(p)
}

// forgetEarlier forgets what a close look found while the sandbox was on its way up, and
// has it looked at again: what was not there yet is no fault.
func (s *Slots) forgetEarlier(p *place) {
	st := p.stay
	p.changed()
	if c := st.inspection; c != nil && st.inspected.Before(st.upSince) {
		st.inspection = &Inspection{Console: c.Console, VMMUser: c.VMMUser}
		s.cfg.Ask(Inspect, p.key)
	}
}

// opened is a finding that was reported and not cleared.
type opened struct {
	hop      path.Hop
	severity path.Severity
	since    time.Time
	unknown  uint // what was not known then, by unknown
}

// unknown says which of the facts that findings rest on are not known, a bit each.
func unknown(f *path.Facts) (bits uint) {
	s := f.Sandbox
	for i, is := range []bool{
		f.Device.Carrier == path.Unknown, f.Device.Exists == path.Unknown, f.Device.AdminUp == path.Unknown, f.Device.Holders == nil,
		s.VMMAlive == path.Unknown, s.VMMStopped == path.Unknown, f.Traffic == nil, f.Proxy.Listening == path.Unknown,
		f.Relay.Listening == path.Unknown, f.Veth.HostUp == path.Unknown, f.Rules.Drops == nil, len(f.Inside.Unread) > 0,
	} {
		if is {
			bits |= 1 << i
		}
	}
	return bits
}

// report makes events of the findings that came and of those that went. One that is
// unknown now is not cleared: it is once it is known to have gone. Nor is one as long as
// a fact is unknown that was known when it came: it may rest on that. Of a sandbox that
// is being removed nothing is.
func (s *Slots) report(p *place, d *path.Diagnosis, facts *path.Facts) {
	open, now := p.stay.open, facts.Now
	found := make(map[string]bool, len(d.Findings))
	for i := range d.Findings {
		f := &d.Findings[i]
		found[f.Code] = true
		was, reported := open[f.Code]
		worse := reported && was.severity != f.Severity && f.Severity == path.Critical
		if !reported {
			s.happened.Found[f.Code]++
			was.since, was.unknown = now, unknown(facts)
		}
		was.hop, was.severity = f.Hop, f.Severity
		open[f.Code] = was
		if !reported || worse {
			s.tell(p, now, path.Problem, f.Code+" at "+string(f.Hop)+": "+f.Cause)
		}
		f.Since = was.since
	}
	if len(open) == len(found) || facts.Sandbox.Ending {
		return
	}
	is := unknown(facts)
	for code, was := range open {
		if !found[code] && !slices.Contains(d.Undecided, code) && is&^was.unknown == 0 {
			delete(open, code)
			s.happened.Cleared[code]++
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
