package slots

import (
	"slices"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// asks is one reading: after so many seconds that many more were answered and lost,
// the latest of which began so many seconds after the start.
type asks struct {
	at             float64
	answered, lost int
	began          float64
}

func TestRequestsOfLate(t *testing.T) {
	start := time.Unix(1_000, 0)
	sec := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	for name, c := range map[string]struct {
		readings      []asks
		ended, failed int
		failing       bool
	}{
		"nothing":                          {nil, 0, 0, false},
		"all answered":                     {[]asks{{1, 5, 0, 0}, {2, 5, 0, 0}}, 10, 0, false},
		"all fail":                         {[]asks{{1, 0, 3, 0.5}}, 3, 3, true},
		"what is older is not judged":      {[]asks{{1, 9, 0, 0}, {9, 0, 3, 8}, {10, 0, 3, 9}}, 6, 6, true},
		"of few the older ones are":        {[]asks{{1, 1, 0, 0}, {60, 1, 0, 0}, {120, 1, 0, 0}, {180, 0, 1, 179}}, 4, 1, false},
		"three at once do not yet":         {[]asks{{1, 0, 5, 0.5}, {1.4, 1, 0, 0}, {1.7, 2, 0, 0}}, 8, 5, true},
		"two in a row, for 3 s":            {[]asks{{1, 9, 0, 0}, {2, 0, 1, 1.5}, {5, 0, 1, 4.8}}, 11, 2, true},
		"two at once, after few":           {[]asks{{1, 1, 0, 0}, {30, 1, 0, 0}, {60, 1, 0, 0}, {61, 0, 2, 60.9}}, 5, 2, false},
		"two answers do not end it":        {[]asks{{1, 0, 5, 0.5}, {2, 2, 0, 0}}, 7, 5, true},
		"three do":                         {[]asks{{1, 0, 5, 0.5}, {2, 2, 0, 0}, {2.5, 1, 0, 0}}, 3, 0, false},
		"or one that was the last for 3 s": {[]asks{{1, 0, 5, 0.5}, {2, 1, 0, 0}, {31, 1, 0, 0}}, 2, 0, false},
		"a half of them":                   {[]asks{{1, 5, 5, 0.5}}, 10, 5, false},
		"late news of what is over":        {[]asks{{1, 0, 5, 0.5}, {2, 3, 0, 0}, {6, 1, 4, 1.5}}, 4, 0, false},
		"new failures after an end":        {[]asks{{1, 0, 5, 0.5}, {2, 3, 0, 0}, {6, 0, 9, 3}}, 9, 9, true},
	} {
		t.Run(name, func(t *testing.T) {
			var r requests
			r.takes(Counted{}, start)
			var now Counted
			failing := false
			for _, reading := range c.readings {
				at := sec(reading.at)
				now.Began += uint64(reading.answered + reading.lost)
				now.Outcomes[slices.Index(path.Outcomes[:], path.Answered)] += uint64(reading.answered)
				now.Outcomes[slices.Index(path.Outcomes[:], path.Lost)] += uint64(reading.lost)
				if reading.lost > 0 {
					now.FailedSince = sec(reading.began)
				}
				if reading.answered > 0 {
					now.AnsweredSince = at.Add(-10 * time.Millisecond)
				}
				r.takes(now, at)
				a := r.asked()
				if is := a.Failing(at); failing && !is {
					r.over = at
					failing = is
				} else {
					failing = is
				}
			}
			a := r.asked()
			if a.Ended != c.ended || a.Failed != c.failed || failing != c.failing {
				t.Errorf("%d of %d failed, failing %v; want %d of %d, %v", a.Failed, a.Ended, failing, c.failed, c.ended, c.failing)
			}
		})
	}
}

// What a predecessor was asked, and what was counted before the counters began anew, is
// not this sandbox's.
func TestFirstReadingSaysNothing(t *testing.T) {
	old := Counted{Began: 9}
	old.Outcomes[slices.Index(path.Outcomes[:], path.Refused)] = 9
	var r requests
	if r.takes(old, time.Unix(1, 0)) || len(r.recent) > 0 {
		t.Errorf("%+v", r.recent)
	}
	anew := Counted{Began: 1}
	anew.Outcomes[slices.Index(path.Outcomes[:], path.Answered)] = 1
	if !r.takes(anew, time.Unix(2, 0)) || r.asked().Ended != 1 {
		t.Errorf("%+v", r.recent)
	}
}

// What was refused on the way up says nothing of a sandbox that is up.
func TestRequestsOfABoot(t *testing.T) {
	w := newWorld(t)
	plan := recorded("i", process(70))
	sandbox := *plan.Sandbox
	sandbox.State = registry.Booting
	plan.Sandbox = &sandbox
	w.space(10, plan)
	w.tap(10, 2, "tap0", path.Yes)
	w.hold()
	sight := func(refused uint64, began time.Time) {
		var c Counted
		c.Began, c.FailedSince, c.Outcomes[slices.Index(path.Outcomes[:], path.Refused)] = refused, began, refused
		w.TakeSights(map[netns.Cookie]Sight{10: {Guest: c}})
	}
	st := w.taps[netns.Device{Netns: 10, Ifindex: 2}].stay
	sight(1, time.Now())
	sight(5, time.Now())
	if len(st.ofGuest.recent) > 0 {
		t.Errorf("on the way up: %+v", st.ofGuest.recent)
	}
	late := time.Now()
	up, running := *plan, sandbox
	running.State = registry.Running
	up.Sandbox = &running
	w.space(10, &up)
	sight(9, late)
	if len(st.ofGuest.recent) > 0 {
		t.Errorf("what began on the way up: %+v", st.ofGuest.recent)
	}
	sight(12, time.Now())
	if a := st.ofGuest.asked(); a.Failed != 3 {
		t.Errorf("up: %+v", a)
	}
}

// Where packets were lost, and what the kernel dropped, is forgotten together, once
// something was answered later.
func TestDropsAreOver(t *testing.T) {
	w := newWorld(t)
	w.space(10, recorded("i", process(70)))
	d := w.tap(10, 2, "tap0", path.Yes)
	w.hold()
	st := w.taps[d].stay
	target := w.Targets(Key{Device: d})[0]
	last := time.Now()
	w.TakeLoss(target, nil, []path.Dropped{{Last: last, Reason: "NETFILTER_DROP", Count: 1}})
	if f := w.facts(w.taps[d], last); len(f.Dropped) != 1 || f.Loss != nil {
		t.Errorf("%+v, %+v", f.Dropped, f.Loss)
	}
	st.ofGuest.good = last.Add(-time.Second)
	if st.lossIsOver(); len(st.dropped) != 1 {
		t.Error("an older answer ends it")
	}
	st.ofGuest.good = last.Add(time.Second)
	if st.lossIsOver(); len(st.dropped) != 0 {
		t.Error("a later answer does not end it")
	}
	w.TakeLoss(target, nil, []path.Dropped{{Last: last, Count: 1}})
	if w.TakeLoss(target, nil, nil); len(st.dropped) != 0 {
		t.Error("a look that finds none leaves the last one's")
	}
}
