package slots

import (
	"slices"
	"testing"
	"time"

	"tapwatch/agent/path"
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
	step(path.Diagnosis{State: path.Idle}) // it is being removed
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
