package slots

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// A finding that becomes unknown is not cleared: it is once it is known to have gone,
// and never before it came.
func TestFindingsAreClearedOnceTheyAreKnownToHaveGone(t *testing.T) {
	w := newWorld(t)
	w.space(10, recorded("i1", process(11)))
	w.tap(10, 2, "tap0", path.Yes)
	w.hold()
	begin := time.Now()
	step := func(d path.Diagnosis) {
		t.Helper()
		for p := range w.bound {
			w.touch(p)
		}
		w.judge(d)
	}
	told := func() (all []string) {
		for _, e := range w.events {
			if e.Kind == path.Problem || e.Kind == path.Cleared {
				all = append(all, string(e.Kind)+" "+e.Text[:8])
			}
		}
		return all
	}
	broken := path.Diagnosis{State: path.Broken, Findings: []path.Finding{{Code: "envd-refused", Hop: path.Envd, Cause: "refused"}}}
	step(broken)
	want := []string{string(path.Problem) + " envd-ref"}
	if got := told(); !slices.Equal(got, want) {
		t.Fatalf("told %q", got)
	}
	step(path.Diagnosis{State: path.Undecided, Undecided: []string{"envd-refused"}})
	step(path.Diagnosis{State: path.Broken, Undecided: []string{"envd-refused"}, Findings: []path.Finding{{Code: "tap-down", Hop: path.Tap}}})
	plan := recorded("i1", process(11))
	plan.Sandbox.State = registry.Ending
	w.space(10, plan)
	step(path.Diagnosis{State: path.Undecided}) // who holds its tap is unknown, as it is being removed
	w.space(10, recorded("i1", process(11)))    // it is not
	step(broken)
	w.TakeHolders(w.Taps(), nil, false) // who holds it cannot be read
	step(path.Diagnosis{State: path.OK})
	w.hold()
	step(broken)
	if got := told(); slices.Contains(got[1:], string(path.Cleared)+" envd-ref") || slices.Contains(got[1:], want[0]) {
		t.Errorf("told %q: neither cleared nor new", got)
	}
	if f := w.Views()[0].Diagnosis.Findings[0]; f.Since.Before(begin) || f.Since.After(w.events[len(w.events)-1].Time) {
		t.Errorf("since %v", f.Since)
	}
	step(path.Diagnosis{State: path.OK})
	if got := told(); !slices.Contains(got, string(path.Cleared)+" envd-ref") {
		t.Errorf("told %q, not cleared", got)
	}
	last := map[string]time.Time{}
	for _, e := range w.events {
		switch e.Kind {
		case path.Problem:
			last[e.Text[:8]] = e.Time
		case path.Cleared:
			if e.Time.Before(last[e.Text[:8]]) {
				t.Errorf("%s is earlier than its problem", e)
			}
		}
	}
}

// A verdict about a sandbox that has gone meanwhile, or about facts that are old, does
// not become the next one's.
func TestLateVerdict(t *testing.T) {
	w := newWorld(t)
	w.space(10, recorded("i1", process(11)))
	w.tap(10, 2, "tap0", path.Yes)
	w.hold()
	old := w.Cases()
	w.space(10, recorded("i2", process(12)))
	for _, c := range old {
		w.TakeVerdict(c, path.Diagnosis{State: path.Broken, Findings: []path.Finding{{Code: "tap-down"}}}, false)
	}
	if v := w.Views()[0]; len(v.Diagnosis.Findings) > 0 || v.Sandbox.ID != "i2" {
		t.Errorf("%s has %+v", v.Sandbox.ID, v.Diagnosis.Findings)
	}
	// Facts that are not whole yet are not judged.
	w.judge(path.Diagnosis{State: path.OK})
	w.tap(10, 2, "tap0", path.No)
	if cases := w.Cases(); len(cases) > 0 {
		t.Errorf("judged before its holders were read: %+v", cases[0].Facts.Device)
	}
	w.hold()
	if cases := w.Cases(); len(cases) != 1 {
		t.Errorf("%d cases with its holders read", len(cases))
	}
}

// A finding is nobody's to see before the facts that it rests on have been read anew, and
// what was read while the sandbox was on its way up is forgotten then.
func TestNewFindingIsLookedAtAgain(t *testing.T) {
	w := newWorld(t)
	plan := recorded("i1", process(11))
	plan.Sandbox.State, plan.Addrs.Vpeer = registry.Booting, netip.MustParseAddr("10.12.0.3")
	w.space(10, plan)
	w.tap(10, 2, "tap0", path.Yes)
	w.hold()
	w.judge(path.Diagnosis{State: path.Booting})
	early := w.Relays(nil)[0]
	early.Is.Listening = path.No
	look := w.Bound(nil)[0]
	w.TakeRelays([]RelayRead{early})
	w.TakeInspection(look, &Inspection{CloseLook: path.CloseLook{Rules: path.Rules{Filters: path.Filters{Drops: []string{"a rule"}}}}})
	up := *plan
	sandbox := *plan.Sandbox
	sandbox.State, sandbox.Record.Index = registry.Running, 3
	up.Sandbox = &sandbox
	w.space(10, &up)

	broken := path.Diagnosis{State: path.Broken, Findings: []path.Finding{{Code: "relay-not-listening", Hop: path.Relay}}}
	told := func() (n int) {
		for _, e := range w.events {
			if e.Kind == path.Problem {
				n++
			}
		}
		return n
	}
	asked := maps.Clone(w.asked)
	take := func() *Target {
		t.Helper()
		cases := w.Cases()
		if len(cases) != 1 {
			t.Fatalf("%d cases", len(cases))
		}
		return w.TakeVerdict(cases[0], broken, false)
	}
	again := take()
	if again == nil || again.Record.Index != 3 || !again.NoRelay || again.NoProxy || told() > 0 || len(w.Views()[0].Diagnosis.Findings) > 0 {
		t.Fatalf("again %+v, told %d, seen %+v", again, told(), w.Views()[0].Diagnosis)
	}
	if s := w.Views()[0]; s.Rules.Drops != nil {
		t.Errorf("of its boot: %+v", s.Rules)
	}
	if w.asked[Inspect] == asked[Inspect] {
		t.Errorf("not looked at again: %v, before %v", w.asked, asked)
	}
	w.Tick(1, time.Now()) // nobody has confirmed it yet
	if again := take(); again == nil || told() > 0 {
		t.Errorf("taken without a second look: %+v, told %d", again, told())
	}
	w.TakeInspection(w.Bound(nil)[0], &Inspection{CloseLook: path.CloseLook{Rules: path.Rules{Filters: path.Filters{Drops: []string{"another"}}}}})
	w.Confirm(*again)
	if again := take(); again != nil || told() != 1 || len(w.Views()[0].Diagnosis.Findings) != 1 {
		t.Errorf("again %+v, told %d, seen %+v", again, told(), w.Views()[0].Diagnosis)
	}
	if s := w.Views()[0]; len(s.Rules.Drops) != 1 {
		t.Errorf("what was found since it is up is forgotten: %+v", s.Rules)
	}
}

// What was found once and not again is not told when it is found later: that is another
// time, with facts of its own.
func TestSuspicionEnds(t *testing.T) {
	w := newWorld(t)
	w.space(10, recorded("i1", process(11)))
	w.tap(10, 2, "tap0", path.Yes)
	w.hold()
	broken := path.Diagnosis{State: path.Broken, Findings: []path.Finding{{Code: "envd-refused", Hop: path.Envd}}}
	for range 3 {
		w.touch(w.find(w.Taps()[0]))
		again := w.TakeVerdict(w.Cases()[0], broken, false)
		if again == nil {
			t.Fatal("told at once")
		}
		w.Confirm(*again)
		w.judge(path.Diagnosis{State: path.OK})
	}
	for _, e := range w.events {
		if e.Kind == path.Problem || e.Kind == path.Cleared {
			t.Errorf("told: %s", e)
		}
	}
}
