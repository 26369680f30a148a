package agent

import (
	"time"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/agent/prober"
)

// asked is when the agent put questions of its own to a sandbox: they pass the same
// hops as real requests, and are not to be taken for them.
type asked struct {
	at          [ways]time.Time // the last one; zero: never
	open        int             // that have not ended
	from, until time.Time       // when those that were open together left traces
}

// begins notes a question, at the time of its round.
func (a *asked) begins(w way, round time.Time) {
	if a.open == 0 {
		a.from = time.Now()
	}
	a.open++
	a.at[w] = round
}

// ends notes what came of it. What answered no question in time may do so yet, or
// be given up by a layer only then.
func (a *asked) ends(got path.Health) {
	a.open--
	until := time.Now()
	if got.Error != "" {
		until = until.Add(echoes)
	}
	if until.After(a.until) {
		a.until = until
	}
}

// echoes is how long a layer goes on with a request that its client gave up.
const echoes = prober.Patience

// left says whether what was seen then may come of our questions.
func (a *asked) left(t time.Time) bool {
	return !a.from.IsZero() && !t.Before(a.from) && (a.open > 0 || !t.After(a.until))
}

// traffic is what was seen of a sandbox's hops.
type traffic struct {
	flow.Seen // by real requests
	all       flow.Seen
}

// takes what was newly seen, and reports whether any of it came of real requests.
func (t *traffic) takes(now flow.Seen, a *asked) (some bool) {
	take := func(to *time.Time, was, is time.Time) {
		if !is.Equal(was) && !a.left(is) {
			*to, some = is, true
		}
	}
	for i := range now.Good {
		take(&t.Good[i], t.all.Good[i], now.Good[i])
		take(&t.Bad[i], t.all.Bad[i], now.Bad[i])
	}
	t.all = now
	return some
}

// saw is what real requests have shown of the sandbox's hops.
func (s *slot) saw() flow.Seen {
	if s.seen == nil {
		return flow.Seen{}
	}
	return s.seen.Seen
}

// served says whether a hop has answered real requests since then, and nothing has
// failed after: where hops are not measured nobody knows.
func (s *slot) served(hop path.Hop, since time.Time) bool {
	var good, bad time.Time
	seen := s.saw()
	for i, h := range flow.Hops {
		if h == hop {
			good = seen.Good[i]
		}
		if seen.Bad[i].After(bad) {
			bad = seen.Bad[i]
		}
	}
	return good.After(since) && !bad.After(good)
}
