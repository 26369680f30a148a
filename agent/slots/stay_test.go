package slots

import (
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// A foreign VMM that is seen to be gone is no problem before the kernel may be
// expected to have reported how it ended.
func TestForeignEndIsAwaited(t *testing.T) {
	gone := time.Unix(1000, 0)
	reported := func(wanted bool) *path.VMMExit { return &path.VMMExit{Time: gone, Wanted: wanted} }
	for name, c := range map[string]struct {
		foreign bool
		once    bool // the agent does not stay
		exit    *path.VMMExit
		after   time.Duration
		ending  bool
	}{
		"not reported yet":          {true, false, nil, 0, true},
		"not reported in time":      {true, false, nil, exitAwaited, false},
		"seen by one look":          {true, true, nil, 0, false},
		"reported as wanted":        {true, false, reported(true), 0, true},
		"reported as not wanted":    {true, false, reported(false), 0, false},
		"a launcher's that records": {false, false, nil, 0, false},
	} {
		st := stay{occupant: occupant{foreign: c.foreign, once: c.once}, vmm: &vmm{exit: c.exit}}
		if c.exit == nil && st.endingAt(gone) {
			t.Errorf("%s: ending before it has gone", name)
		}
		st.vmm.ended(gone)
		st.vmm.ended(gone.Add(time.Hour)) // the first time counts
		if got := st.endingAt(gone.Add(c.after)); got != c.ending {
			t.Errorf("%s: ending %t, want %t", name, got, c.ending)
		}
	}
}

// A rule's silence holds until its time is over, and the section silence comes first.
func TestSilenceOfARule(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	v := firecracker(11, "i1")
	v.Identity.Silence = path.Silence{Until: now.Add(time.Hour), Reason: "rack 7 moves"}
	w.space(10, nil)
	d := w.tap(10, 2, "tap0", path.Yes)
	w.hold(Holder{VMM: v, Device: d})
	at := w.find(w.Taps()[0])
	if got := w.facts(at, now).Silence; got == nil || *got != v.Identity.Silence {
		t.Errorf("silenced by its rule: %+v", got)
	}
	if got := w.facts(at, now.Add(time.Hour)).Silence; got != nil {
		t.Errorf("its time is over: %+v", got)
	}
	own := &path.Silence{Until: now.Add(time.Minute)}
	w.cfg.Silenced = func(string, string, string, time.Time) *path.Silence { return own }
	if got := w.facts(at, now).Silence; got != own {
		t.Errorf("silenced by both: %+v", got)
	}
}

// A removal that takes too long is no excuse any more.
func TestRemovalIsBounded(t *testing.T) {
	w := newWorld(t)
	p := recorded("i1", process(11))
	p.Sandbox.State = registry.Ending
	w.space(10, p)
	w.tap(10, 2, "tap0", path.Yes)
	at, now := w.find(w.Taps()[0]), time.Now()
	for after, want := range map[time.Duration]bool{0: true, endingPatience - time.Second: true, endingPatience: false} {
		if got := w.facts(at, now.Add(after)).Sandbox.Ending; got != want {
			t.Errorf("after %v: ending %t", after, got)
		}
	}
	if _, restless := w.restless[at]; restless {
		t.Error("restless before anything was judged")
	}
	w.hold()
	w.judge(path.Diagnosis{State: path.Idle})
	if _, restless := w.restless[at]; !restless {
		t.Error("its removal is not looked at again as time passes")
	}
	p.Sandbox.State = registry.Running
	w.space(10, p)
	if w.facts(at, now).Sandbox.Ending {
		t.Error("ending, though it runs")
	}
}

// A finding that time alone ends is judged again though no fact changes.
func TestPassingWarningIsJudgedAgain(t *testing.T) {
	for _, passing := range []bool{true, false} {
		w := newWorld(t)
		w.space(10, recorded("i1", process(11)))
		w.tap(10, 2, "tap0", path.Yes)
		w.hold()
		found := path.Diagnosis{State: path.OK, Findings: []path.Finding{{Code: "tap-drops"}}}
		w.judge(found)
		w.touch(w.find(w.Taps()[0]))
		for _, c := range w.Cases() {
			w.TakeVerdict(c, found, passing)
		}
		w.Tick(1, time.Now())
		if got := len(w.Cases()) == 1; got != passing {
			t.Errorf("passing %t: judged again %t", passing, got)
		}
	}
}

// What was found of the last sandbox, and what is known of its VMM, does not speak
// for the next one in its place.
func TestStayBeginsAnew(t *testing.T) {
	w := newWorld(t)
	w.space(10, &Plan{Launcher: "e2b", Tap: "tap0", Assumed: true})
	tap := w.tap(10, 2, "tap0", path.Yes)
	old, next := firecracker(11, "i1"), firecracker(12, "i2")
	w.hold(old.on(tap, "tap0"))
	target := w.Bound(nil)[0]
	w.TakeInspection(target, &Inspection{CloseLook: path.CloseLook{Rules: path.Rules{Filters: path.Filters{Drops: []string{"a rule"}}}}})
	w.TakeAPI(target, &path.VMMAPI{Error: "silent"})
	w.TakeExit(old.PID, path.VMMExit{Time: time.Now(), How: "was killed by SIGKILL"}, "died")
	w.shows("crashed", "ns-10/tap0 i1 pid 11 no")
	w.free(tap)
	w.hold(next.on(tap, "tap0"))
	w.shows("the next one", "ns-10/tap0 i2 pid 12 yes")
	s := w.Views()[0].Sandbox
	if s.VMMExit != nil || s.API != nil || w.Views()[0].Rules.Drops != nil {
		t.Errorf("of the last one: exit %+v, API %+v, rules %+v", s.VMMExit, s.API, w.Views()[0].Rules)
	}
	// What comes late of the last one is dropped.
	w.TakeInspection(target, &Inspection{CloseLook: path.CloseLook{Rules: path.Rules{Filters: path.Filters{Drops: []string{"a rule"}}}}})
	w.TakeProcess(target, ProcessState{Alive: path.No})
	w.TakeAPI(target, &path.VMMAPI{Error: "silent"})
	if s := w.Views()[0]; s.Sandbox.VMMAlive != path.Yes || s.Sandbox.API != nil || s.Rules.Drops != nil {
		t.Errorf("what came late was taken: %+v", s.Sandbox)
	}
}

// The same sandbox with a new VMM process, such as one that was restored: what is known
// of the last process is not known of this one.
func TestVMMIsReplacedWhole(t *testing.T) {
	w := newWorld(t)
	w.space(10, &Plan{Launcher: "e2b", Tap: "tap0", Assumed: true})
	tap := w.tap(10, 2, "tap0", path.Yes)
	w.hold(firecracker(11, "i1").on(tap, "tap0"))
	target := w.Bound(nil)[0]
	w.TakeProcess(target, ProcessState{Alive: path.No, Zombie: true})
	w.TakeExit(11, path.VMMExit{Time: time.Now()}, "died")
	w.free(tap)
	w.hold(firecracker(12, "i1").on(tap, "tap0"))
	w.shows("a new process", "ns-10/tap0 i1 pid 12 yes")
	s := w.Views()[0].Sandbox
	if s.VMMExit != nil || !s.VMMZombie.IsZero() || s.VMMStopped == path.Yes {
		t.Errorf("of the last process: %+v", s)
	}
}
