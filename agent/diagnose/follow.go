package diagnose

import (
	"slices"
	"time"

	"tapwatch/agent/path"
)

// The verdict follows what clients get. While most requests fail, no path is ok: if no
// check says why, the finding is unexplained. While requests are answered, no check
// makes a path broken: what it found is a warning.

// settles is how long after a finding a request must have begun whose answer proves that
// requests pass nevertheless: a finding is known a little later than its fact, or sooner.
const settles = 500 * time.Millisecond

// passes says whether requests are answered though a check has found something wrong
// at a hop since then; zero: just now.
func passes(f path.Facts, c Check, hop path.Hop, since time.Time) bool {
	r := f.Requests
	if r == nil || r.Failing(f.Now) || hop == path.Proxy { // of what a proxy does not do nobody knows
		return false
	}
	good := r.Relay.Good
	if !path.HasRelay(f.Sandbox.Shape) || hop != path.Relay && r.Guest.Good.After(good) {
		good = r.Guest.Good
	}
	if since.IsZero() {
		since = f.Now
	}
	if good.After(since.Add(settles)) {
		return true
	}
	return c.Inferred && f.Now.Sub(good) < path.Within // an answer that recent speaks against it
}

// lastGood is when a request was answered last.
func lastGood(f path.Facts) time.Time {
	if f.Requests.Relay.Good.After(f.Requests.Guest.Good) {
		return f.Requests.Relay.Good
	}
	return f.Requests.Guest.Good
}

// follow adds what requests show to what the checks have found.
func (j *judging) follow() {
	f, d := j.f, j.d
	if f.Requests == nil || d.State == path.Booting || d.State == path.Paused {
		return
	}
	switch {
	case f.Requests.Failing(f.Now):
		j.explain()
	case isDegraded(f):
		if c := j.set.of(degraded.Code); !c.off && len(d.Findings) == 0 {
			d.Findings = append(d.Findings, degradedAt(f, c))
		}
		fallthrough
	default:
		waitsLong(f, d)
	}
}

// explain finds why requests fail among what the checks found, or says that nothing
// does.
func (j *judging) explain() {
	f, d := j.f, j.d
	for i := range d.Hops {
		h := &d.Hops[i]
		if slices.ContainsFunc(d.Findings, func(x path.Finding) bool { return x.Hop == h.Hop && j.refuted(x) }) {
			h.State, h.Detail = path.Undecided, "not known: requests do not come to it"
		}
	}
	d.Findings = slices.DeleteFunc(d.Findings, func(x path.Finding) bool { return j.refuted(x) })
	why := slices.IndexFunc(d.Findings, func(x path.Finding) bool {
		c := j.set.of(x.Code)
		return x.Severity == path.Critical || c.Severity == path.Critical && c.most != "" // it would be, but for the operator
	})
	if at := lostAt(f).hop; why < 0 {
		why = slices.IndexFunc(d.Findings, func(x path.Finding) bool { return x.Hop == at && j.set.of(x.Code).Loses })
	}
	if c := j.set.of(unexplained.Code); why < 0 && !c.off {
		d.Findings = append(d.Findings, unexplainedAt(f, d, c))
		why = len(d.Findings) - 1
	} else if why >= 0 {
		x := &d.Findings[why]
		if l := f.Loss; l != nil && x.Hop != l.Hop && j.set.of(x.Code).Loses { // it is where it was measured
			j.moves(x.Hop, l.Hop)
			x.Hop = l.Hop
		}
		x.Severity = path.Critical.AtMost(j.set.of(x.Code).most)
		x.Evidence = slices.Concat(x.Evidence, requestsEvidence(f))
		if c := j.set.of(x.Code); c.Loses && c.Code != tapDrops.Code { // that one has them
			x.Evidence = append(x.Evidence, droppedEvidence(f)...)
		}
	}
	if why >= 0 && d.Findings[why].Severity == path.Critical {
		breaks(d, d.Findings[why])
	}
}

// moves takes a break from a hop to another, where its packets were seen to be lost.
func (j *judging) moves(from, to path.Hop) {
	if slices.ContainsFunc(j.d.Findings, func(x path.Finding) bool {
		return x.Hop == from && x.Severity == path.Critical && !j.set.of(x.Code).Loses
	}) {
		return
	}
	for i := range j.d.Hops {
		if h := &j.d.Hops[i]; h.Hop == from && h.State == path.Broken {
			h.State, h.Detail = path.Undecided, "the "+string(to)+" is where packets are lost"
			if slices.Index(path.Hops, from) < slices.Index(path.Hops, to) {
				h.State = path.OK
			}
		}
	}
}

// refuted says whether something was inferred of a hop to which requests do not even
// come.
func (j *judging) refuted(x path.Finding) bool {
	l := j.f.Loss
	return l != nil && !l.Back && x.Severity == path.Critical && j.set.of(x.Code).Inferred && slices.Index(path.Hops, x.Hop) > slices.Index(path.Hops, l.Hop)
}

// of is the check of a code.
func (s Set) of(code string) Check {
	if i := slices.IndexFunc(s, func(c Check) bool { return c.Code == code }); i >= 0 {
		return s[i]
	}
	return Check{off: true}
}

// breaks makes the hop of a finding the broken one.
func breaks(d *path.Diagnosis, x path.Finding) {
	d.State = path.Broken
	for i := range d.Hops {
		if h := &d.Hops[i]; h.Hop == x.Hop {
			h.State, h.Detail = path.Broken, x.Cause
		}
	}
}

// waitsLong notes a request that was taken and is not answered: whoever was asked is
// slow, or hangs, and only another question can tell.
func waitsLong(f path.Facts, d *path.Diagnosis) {
	long := func(a *path.Asked) bool { return a.Slow(f.Now.Add(-path.SlowAfter)) }
	hop, who := path.Envd, "envd"
	switch r := f.Requests; {
	case long(&r.Guest):
	case long(&r.Relay) && len(r.Guest.Waits) == 0:
		hop, who = path.Relay, "the relay"
	default:
		return
	}
	for i := range d.Hops {
		if h := &d.Hops[i]; h.Hop == hop && h.State == path.OK {
			h.State, h.Detail = path.Undecided, "a request that "+who+" has taken waits for its answer"
			d.State = worse(d.State, path.Undecided)
		}
	}
}
