package slots

import (
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// What is judged is what was asked within path.Within, or the last requestsLeast of it
// where that is more.
const (
	requestsLeast = 5
	// requestsGood is how many answers in a row end what failed before.
	requestsGood = 3
	// requestsCalm is how long none may have failed before that.
	requestsCalm = time.Second
)

// Counted is what was asked at one point of a path, by what came of it, in the order
// of path.Outcomes. It only grows.
type Counted struct {
	Began uint64
	// FailedSince is when the latest one began that failed; zero: none did.
	FailedSince time.Time
	// AnsweredSince is the same of those that were answered.
	AnsweredSince time.Time
	Outcomes      [len(path.Outcomes)]uint64
}

// Sight is what traffic shows of a path.
type Sight struct {
	Traces       Traces
	Relay, Guest Counted
}

// requests is what came of late of what was asked at one point of a sandbox's path.
type requests struct {
	counted *Counted                   // as it was read last; nil: not yet
	total   [len(path.Outcomes)]uint64 // of this sandbox
	recent  []ended                    // the last one last
	good    time.Time
	goods   [requestsGood]time.Time // when the last ones that were answered began, the latest first
	over    time.Time               // when what was asked ceased to fail; zero: it never did
	waits   Waiting
}

// ended is what ended between two readings.
type ended struct {
	at               time.Time
	began            time.Time // when the latest of those that failed did
	answered, failed int
	by               [len(path.Outcomes)]int
}

// takes takes a reading, and reports whether anything was answered or failed since the
// last one. The first one of a sandbox says nothing: it may be its predecessor's.
func (r *requests) takes(now Counted, at time.Time) bool {
	was := r.counted
	r.counted = &now
	if was == nil {
		return false
	}
	if now.Began < was.Began { // counted anew
		was = &Counted{}
	}
	e := ended{at: at, began: now.FailedSince}
	for i, o := range path.Outcomes {
		n := int(now.Outcomes[i] - min(was.Outcomes[i], now.Outcomes[i]))
		r.total[i] += uint64(n)
		switch {
		case o == path.Answered:
			e.answered += n
		case o.Failed():
			e.failed += n
			e.by[i] = n
		}
	}
	if now.FailedSince.Before(r.over) { // late news
		e.failed, e.by = 0, [len(path.Outcomes)]int{}
	}
	if e.answered+e.failed == 0 {
		return false
	}
	if e.answered > 0 {
		r.good = now.AnsweredSince // of a request from before a fault the answer may come late
	}
	for range min(e.answered, requestsGood) {
		copy(r.goods[1:], r.goods[:])
		r.goods[0] = now.AnsweredSince
	}
	r.recent = append(r.recent, e)
	r.trim(at)
	return true
}

// trim forgets what is judged no more.
func (r *requests) trim(now time.Time) {
	enough, first := 0, len(r.recent)
	for first > 0 && (enough < requestsLeast || now.Sub(r.recent[first-1].at) < path.Within) {
		first--
		enough += r.recent[first].answered + r.recent[first].failed
	}
	good, run := 0, len(r.recent)
	for run > 0 && r.recent[run-1].failed == 0 {
		run--
		good += r.recent[run].answered
	}
	if run > first && good > 0 && (good >= requestsGood && now.Sub(r.recent[run-1].at) >= requestsCalm || now.Sub(r.recent[run-1].at) >= path.Within) {
		first = run // what failed before is over
	}
	r.recent = slices.Delete(r.recent, 0, first)
}

// last is when something was answered or failed last; zero: nothing was.
func (r *requests) last() time.Time {
	if n := len(r.recent); n > 0 {
		return r.recent[n-1].at
	}
	return time.Time{}
}

// asked is what is judged.
func (r *requests) asked() path.Asked {
	a := path.Asked{Good: r.good, Last: r.last(), Waiting: r.waits.All, Waits: r.waits.Some}
	if a.Well = r.goods[requestsGood-1]; r.over.After(a.Well) {
		a.Well = r.over
	}
	for _, e := range slices.Backward(r.recent) {
		if e.answered > 0 {
			break
		}
		a.Row, a.RowSince = a.Row+e.failed, e.began
	}
	for _, e := range r.recent {
		a.Ended += e.answered + e.failed
		a.Failed += e.failed
		for i, n := range e.by {
			if n > 0 {
				if a.By == nil {
					a.By = map[path.Outcome]int{}
				}
				a.By[path.Outcomes[i]] += n
			}
		}
	}
	return a
}

// requests is what is judged of both points; nil: nothing was seen at either.
func (st *stay) requests() *path.Requests {
	r := &path.Requests{Relay: st.ofRelay.asked(), Guest: st.ofGuest.asked(), Totals: path.TotalsOf(&st.ofRelay.total, &st.ofGuest.total)}
	if r.Relay.Ended+r.Relay.Waiting+r.Guest.Ended+r.Guest.Waiting+len(r.Totals) == 0 {
		return nil
	}
	return r
}

// TakeSights takes what traffic has newly shown of the paths of some namespaces.
func (s *Slots) TakeSights(of map[netns.Cookie]Sight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Now()
	for c, now := range of {
		p := s.measuredIn(c)
		if p == nil {
			continue
		}
		st := p.stay
		if st.booting(at) { // what fails on the way up is no failure
			st.ofRelay.over, st.ofGuest.over = at, at
		}
		seen := st.seen.takes(&now.Traces, &st.asked)
		relay, guest := st.ofRelay.takes(now.Relay, at), st.ofGuest.takes(now.Guest, at)
		if seen || relay || guest {
			st.lossIsOver()
			s.touch(p)
		}
	}
}

// Waiting is what waits at one point of a path: how many, and some of them, spread over
// all, the oldest first.
type Waiting struct {
	All  int
	Some []path.Wait
}

// Waits is what waits at one path.
type Waits struct{ Relay, Guest Waiting }

// TakeWaits takes all that waits now.
func (s *Slots) TakeWaits(of map[netns.Cookie]Waits, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	take := func(p *place, w Waits) {
		st := p.stay
		was := st.lost(now)
		st.ofRelay.waits, st.ofGuest.waits = w.Relay, w.Guest
		if st.lost(now) != was || was > 0 { // what merely waits changes nothing yet
			s.touch(p)
		}
		if w.Relay.All+w.Guest.All > 0 {
			s.asking[p] = struct{}{}
		} else {
			delete(s.asking, p)
		}
	}
	for p := range s.asking {
		if _, still := of[p.key.Netns]; !still {
			take(p, Waits{})
		}
	}
	for c, w := range of {
		if p := s.measuredIn(c); p != nil {
			take(p, w)
		}
	}
}

// lost is how much of what waits has been lost by now.
func (st *stay) lost(now time.Time) int {
	relay, guest := st.ofRelay.asked(), st.ofGuest.asked()
	return relay.Lost(now) + guest.Lost(now)
}

func (s *Slots) measuredIn(c netns.Cookie) *place {
	if sp := s.spaces[c]; sp != nil {
		return sp.measured()
	}
	return nil
}

const (
	// traceAfter is how long something may wait without an acknowledgment before the agent
	// looks for where packets are lost.
	traceAfter = 500 * time.Millisecond
	// traceEvery is the time between two traces of one path, traceRarely where it has
	// failed for long and the last trace found the place.
	traceEvery  = 3 * time.Second
	traceRarely = 30 * time.Second
	// unackedFor is how long a packet may be on its way to a device.
	unackedFor = 200 * time.Millisecond
)

// DueTraces returns sandboxes that may be losing packets, at most so many, and notes that
// the caller traces them now.
func (s *Slots) DueTraces(now time.Time, most int) (due []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	look := func(p *place) {
		st := p.stay
		every := traceEvery
		if st.loss != nil && !st.failingSince.IsZero() && now.Sub(st.failingSince) > traceRarely {
			every = traceRarely
		}
		if p.key.Claim != 0 || p.space.Path == "" || st.booting(now) || st.endingAt(now) || now.Sub(st.traced) < every || !st.mayLose(now) {
			return
		}
		st.traced = now
		due = append(due, s.target(p))
	}
	for _, set := range []map[*place]struct{}{s.asking, s.troubled} {
		for p := range set {
			if len(due) == most {
				return due
			}
			look(p)
		}
	}
	return due
}

// AnyTrouble says whether something is asked of any sandbox, or is wrong with one.
func (s *Slots) AnyTrouble() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asking)+len(s.troubled) > 0
}

// Unacked returns what waits at the relay and at the guest that began after that time and
// has had time enough to be acknowledged, one each; nil: nothing does.
func (s *Slots) Unacked(t Target, since time.Time) (relay, guest *path.Wait) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(t)
	if p == nil {
		return nil, nil
	}
	late := time.Now().Add(-unackedFor)
	lost := func(some []path.Wait) *path.Wait {
		for _, w := range some {
			if !w.Acked && w.Since.After(since) && w.Since.Before(late) {
				return &w
			}
		}
		return nil
	}
	return lost(p.stay.ofRelay.waits.Some), lost(p.stay.ofGuest.waits.Some)
}

// mayLose says whether packets of the path may be being lost.
func (st *stay) mayLose(now time.Time) bool {
	for _, a := range []path.Asked{st.ofRelay.asked(), st.ofGuest.asked()} {
		if a.Failing(now) {
			return true
		}
		for _, w := range a.Waits {
			if !w.Acked && now.Sub(w.Since) > traceAfter {
				return true
			}
		}
	}
	return false
}

// TakeLoss takes where packets were lost; nil: nowhere, as far as was seen. Dropped is
// what the kernel says that it dropped.
func (s *Slots) TakeLoss(t Target, l *path.Loss, dropped []path.Dropped) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(t)
	if p == nil || l == nil && p.stay.loss == nil && len(dropped)+len(p.stay.dropped) == 0 {
		return
	}
	p.stay.loss, p.stay.dropped = l, dropped
	s.touch(p)
}

// lossIsOver forgets where packets were lost once something was answered later.
func (st *stay) lossIsOver() {
	if st.loss == nil && len(st.dropped) == 0 {
		return
	}
	var last time.Time
	if st.loss != nil {
		last = st.loss.Time
	}
	for _, d := range st.dropped {
		if d.Last.After(last) {
			last = d.Last
		}
	}
	for _, r := range []*requests{&st.ofRelay, &st.ofGuest} {
		if a := r.asked(); a.Failed == 0 && a.Good.After(last) {
			st.loss, st.dropped = nil, nil
			return
		}
	}
}
