package slots

import (
	"time"

	"tapwatch/agent/path"
)

// Way is where a question of the agent's own enters the path.
type Way int

// The ways.
const (
	AtTap       Way = iota // straight at the tap, from inside the namespace
	ThroughPath            // to the proxy, as clients do
	AsProxy                // where proxies ask; at the tap where they ask from inside
	Ways
)

// shows is the hop by whose answers to real requests a question is spared: what is in
// front of the tap may be broken while envd answers others.
var shows = [...]path.Hop{AtTap: path.Envd, ThroughPath: path.Proxy}

// Question is one that is due.
type Question struct {
	Target
	Way Way
}

// asked is when the agent put questions of its own to a sandbox: they pass the same
// hops as real requests, and are not to be taken for them.
type asked struct {
	at          [Ways]time.Time // the last one; zero: never
	open        int             // that have not ended
	from, until time.Time       // when those that were open together left traces
}

// begins notes a question, at the time of its round.
func (a *asked) begins(w Way, round time.Time) {
	if a.open == 0 {
		a.from = time.Now()
	}
	a.open++
	a.at[w] = round
}

// ends notes what came of it. What answered no question in time may do so yet, or
// be given up by a proxy only then.
func (a *asked) ends(got path.Health, echoes time.Duration) {
	a.open--
	until := time.Now()
	if got.Error != "" {
		until = until.Add(echoes)
	}
	if until.After(a.until) {
		a.until = until
	}
}

// left says whether what was seen then may come of our questions.
func (a *asked) left(t time.Time) bool {
	return !a.from.IsZero() && !t.Before(a.from) && (a.open > 0 || !t.After(a.until))
}

// Traced is the hops that traffic tells apart, in the order of Traces.
var Traced = [...]path.Hop{path.Proxy, path.Relay, path.Tap, path.Envd}

// Traces are when each hop was last seen to answer, and not to.
type Traces [len(Traced)]path.Seen

// traffic is what was seen of the hops of a sandbox.
type traffic struct {
	real Traces // by real requests
	all  Traces
}

// takes what was newly seen, and reports whether any of it came of real requests.
func (t *traffic) takes(now *Traces, a *asked) (some bool) {
	take := func(to *time.Time, was, is time.Time) {
		if !is.Equal(was) && !a.left(is) {
			*to, some = is, true
		}
	}
	for i := range now {
		take(&t.real[i].Good, t.all[i].Good, now[i].Good)
		take(&t.real[i].Bad, t.all[i].Bad, now[i].Bad)
	}
	t.all = *now
	return some
}

// served says whether a hop has answered real requests since then, and nothing has
// failed after: where hops are not measured nobody knows.
func (t *traffic) served(hop path.Hop, since time.Time) bool {
	var good, bad time.Time
	for i, seen := range t.real {
		if Traced[i] == hop {
			good = seen.Good
		}
		if seen.Bad.After(bad) {
			bad = seen.Bad
		}
	}
	return good.After(since) && !bad.After(good)
}

// seen is what real requests showed, as facts; nil: nothing.
func (t *traffic) seen() map[path.Hop]path.Seen {
	if t.real == (Traces{}) {
		return nil
	}
	of := map[path.Hop]path.Seen{}
	for i, seen := range t.real {
		if seen != (path.Seen{}) {
			of[Traced[i]] = seen
		}
	}
	return of
}

// Due says who is asked: zero times are nobody.
type Due struct {
	// Idle is since when a sandbox must have answered no real request to be asked at the
	// tap and through the path.
	Idle time.Time
	// Silent is since when one must have been asked nothing, by anybody, to be asked as
	// proxies ask.
	Silent time.Time
	// Slow is since when a request must have waited that the guest has taken, for its
	// sandbox to be asked at the tap: whether envd hangs or works on it.
	Slow time.Time
}

// slowEvery is the time between two such questions.
const slowEvery = 10 * time.Second

// DueQuestions returns the questions whose turn it is, of the sandboxes that can be
// asked, and notes that they are put.
func (s *Slots) DueQuestions(now time.Time, due Due, most int) (all []Question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.bound {
		if len(all)+len(shows) > most {
			break
		}
		st := p.stay
		ready := p.device.Carrier == path.Yes && p.diagnosis.State != path.Booting && !s.isPaused(p) && // it is let rest
			p.key.Claim == 0
		if !ready || st.asked.open > 0 || p.space.Path == "" || !p.addrs().Guest.IsValid() {
			continue
		}
		put := func(w Way) {
			st.asked.begins(w, now)
			all = append(all, Question{Target: s.target(p), Way: w})
		}
		for w, hop := range shows {
			if w := Way(w); st.asked.at[w].Before(due.Idle) && !st.seen.served(hop, due.Idle) {
				put(w)
			}
		}
		if len(all) < most && st.slow(due.Slow) && now.Sub(st.asked.at[AtTap]) >= slowEvery {
			put(AtTap)
		}
		if len(all) < most && st.silent(due.Silent) {
			put(AsProxy)
		}
	}
	return all
}

// slow says whether a request has waited since then that the guest has taken.
func (st *stay) slow(since time.Time) bool {
	a := st.ofGuest.asked()
	return a.Slow(since)
}

// silent says whether nobody has asked the sandbox for anything since then.
func (st *stay) silent(since time.Time) bool {
	for _, last := range []time.Time{st.began, st.ofRelay.last(), st.ofGuest.last(), st.asked.at[AsProxy]} {
		if !last.Before(since) {
			return false
		}
	}
	return st.ofRelay.waits.All+st.ofGuest.waits.All == 0
}

// isPaused says whether the VM of a place is paused: no question may wake it, keep it from
// being paused, or count as a client that waits for it.
func (s *Slots) isPaused(p *place) bool {
	_, paused := s.paused[p]
	return paused
}

// Paused says whether the VM of a sandbox is paused, by what is known now.
func (s *Slots) Paused(t Target) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(t)
	if p == nil {
		return false
	}
	f := s.facts(p, time.Now())
	return f.PausedBy() != ""
}

// TakeAnswer takes what came of a question. Echoes is how long a proxy goes on with a
// request that its client gave up. Due is false for a question that nothing noted.
func (s *Slots) TakeAnswer(q Question, got path.Health, echoes time.Duration, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(q.Target)
	if p == nil {
		return
	}
	if due {
		p.stay.asked.ends(got, echoes)
	}
	if p.stay.vmm.Process != q.VMM {
		return
	}
	switch q.Way {
	case ThroughPath:
		p.stay.through = got
	case AtTap:
		p.stay.health = got
	case AsProxy: // what came of it is counted with all that is asked
		return
	}
	s.touch(p)
}

// DueAPIs returns VMMs that have an API to be asked by: those in trouble, and those that
// were not asked since they came or signalled their vCPUs. The others are left alone:
// what a VMM was given to do does not change.
func (s *Slots) DueAPIs(most int) (due []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.bound {
		st := p.stay
		if st.Socket == "" || st.vmm.PID == 0 || st.vmm.alive == path.No {
			continue
		}
		if _, ok := s.troubled[p]; (ok || st.vmm.askAPI) && len(due) < most {
			st.vmm.askAPI = false
			due = append(due, s.target(p))
		} else if !ok && st.vmm.api != nil && st.vmm.api.Error != "" && st.vmm.api.State != path.VMMPaused { // a silence that nobody minded
			st.vmm.api = nil
		}
	}
	return due
}

// PausedSome returns a few of the sandboxes that are paused and in no trouble. That they
// go on is mostly reported, but not by every freezer.
func (s *Slots) PausedSome(most int) (some []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.paused { // in another order each time
		if _, troubled := s.troubled[p]; !troubled && len(some) < most {
			p.stay.vmm.askAPI = true
			some = append(some, s.target(p))
		}
	}
	return some
}

// TakeAPI takes what a VMM answered.
func (s *Slots) TakeAPI(t Target, got *path.VMMAPI) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(t)
	if p == nil || p.stay.vmm.Process != t.VMM {
		return
	}
	was := p.stay.vmm.api
	if got.Error != "" {
		switch {
		case got.Answered: // what nobody understands is no silence
		case was != nil && !was.SilentSince.IsZero():
			got.SilentSince = was.SilentSince
		default:
			got.SilentSince = got.Time
		}
		if was != nil { // what it was given does not change
			got.Interfaces = was.Interfaces
		}
		if was != nil && was.State == path.VMMPaused && got.State == "" && !got.Gone { // it writes its snapshot, and answers nobody
			got.State = was.State
		}
	}
	p.stay.vmm.api = got
	s.touch(p)
}
