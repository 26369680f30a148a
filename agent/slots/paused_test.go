package slots

import (
	"slices"
	"testing"
	"time"

	"tapwatch/agent/path"
)

// A VM that is paused is asked what it does where that may have changed, and is asked
// nothing else.
func TestPausedIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.space(10, &Plan{Launcher: "e2b", Tap: "tap0", Assumed: true, Addrs: Addrs{Guest: guest}})
	tap := w.tap(10, 2, "tap0", path.Yes)
	vmm := firecracker(11, "i1")
	vmm.Identity.Socket = "/run/fc.sock"
	w.hold(vmm.on(tap, "tap0"))
	ok := path.Diagnosis{State: path.OK}
	w.judge(ok)
	asks := func(what string, api, question bool) {
		t.Helper()
		if got := len(w.DueAPIs(8)) == 1; got != api {
			t.Errorf("%s: its VMM is asked: %t", what, got)
		}
		due := w.DueQuestions(time.Now(), Due{Idle: time.Now()}, 8)
		for _, q := range due {
			w.TakeAnswer(q, path.Health{Code: 204}, 0, true)
		}
		w.judge(ok)
		if got := len(due) > 0; got != question {
			t.Errorf("%s: its envd is asked: %t", what, got)
		}
	}
	asks("it has come", true, true)
	asks("nothing has changed", false, true)
	w.Kicked(12)
	asks("another has signalled its vCPUs", false, true)
	w.Kicked(11)
	if w.asked[API] == 0 {
		t.Error("nobody was told to ask")
	}
	asks("it has signalled its vCPUs", true, true)

	target := w.Bound(nil)[0]
	w.TakeAPI(target, &path.VMMAPI{Time: time.Now(), State: path.VMMPaused})
	w.judge(path.Diagnosis{State: path.Paused})
	asks("it is paused", false, false)
	if some := w.PausedSome(4); len(some) != 1 {
		t.Errorf("%d are paused", len(some))
	}
	asks("its turn has come", true, false)
	w.TakeAPI(target, &path.VMMAPI{Time: time.Now(), Error: "no answer in 1s"})
	w.judge(path.Diagnosis{State: path.Paused})
	asks("it writes a snapshot, and answers nobody", false, false)
	w.TakeAPI(target, &path.VMMAPI{Time: time.Now(), State: path.VMMRunning})
	w.judge(ok)
	asks("it goes on", false, true)

	var kinds []path.EventKind
	for _, e := range w.events {
		if e.Kind == path.VMPaused || e.Kind == path.VMResumed {
			kinds = append(kinds, e.Kind)
		}
	}
	if want := []path.EventKind{path.VMPaused, path.VMResumed}; !slices.Equal(kinds, want) {
		t.Errorf("told %v, want %v", kinds, want)
	}
}

// A line of the console has the time at which it was read first.
func TestConsoleLinesHaveTheirTime(t *testing.T) {
	w := newWorld(t)
	w.space(10, &Plan{Launcher: "e2b", Tap: "tap0", Assumed: true})
	w.hold(firecracker(11, "i1").on(w.tap(10, 2, "tap0", path.Yes), "tap0"))
	target := w.Bound(nil)[0]
	read := func(lines ...string) (at []time.Time) {
		var faults []path.ConsoleFault
		for _, l := range lines {
			faults = append(faults, path.ConsoleFault{Code: "guest-panic", Line: l})
		}
		w.TakeConsole(target, faults)
		for _, f := range w.Views()[0].Sandbox.Console {
			at = append(at, f.Read)
		}
		return at
	}
	first := read("a")
	again := read("a")
	other := read("b")
	if !first[0].Equal(again[0]) || !other[0].After(first[0]) || len(read()) != 0 {
		t.Errorf("read at %v, %v and %v", first, again, other)
	}
}
