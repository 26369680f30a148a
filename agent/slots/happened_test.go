package slots

import (
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// What came and went between two looks is counted: a sandbox that broke, was mended and
// lost its VMM, and one whose boot was given up.
func TestHappened(t *testing.T) {
	w := newWorld(t)
	plan := recorded("i1", process(11))
	plan.Sandbox.Created = time.Now().Add(time.Second) // since the agent began
	w.space(10, plan)
	tap := w.tap(10, 2, "tap0", path.Yes)
	w.hold(process(11).on(tap, "tap0"))
	step := func(d path.Diagnosis) {
		for p := range w.bound {
			w.touch(p)
		}
		w.judge(d)
	}
	broken := path.Diagnosis{State: path.Broken, Hops: []path.HopState{{Hop: path.Proxy, State: path.OK}, {Hop: path.Envd, State: path.Broken}},
		Findings: []path.Finding{{Code: "envd-refused", Hop: path.Envd}}}
	for range 2 {
		step(broken)
		step(path.Diagnosis{State: path.OK})
	}
	w.TakeExit(11, path.VMMExit{Time: time.Now(), Signal: "SIGKILL"}, "died")
	w.space(10, &Plan{Launcher: "tapwatch", Tap: "tap0", OwnerPID: 7, OwnerAlive: path.Yes}) // the record is without a sandbox

	plan = recorded("i2", process(12))
	plan.Sandbox.Created, plan.Sandbox.State = time.Now().Add(time.Second), registry.Booting
	w.space(11, plan)
	w.tap(11, 2, "tap0", path.Yes)
	plan.Sandbox.State = registry.Ending
	w.space(11, plan)
	w.space(11, &Plan{Launcher: "tapwatch", Tap: "tap0", OwnerPID: 7, OwnerAlive: path.Yes})

	got := w.Happened()
	if got.Found["envd-refused"] != 2 || got.Cleared["envd-refused"] != 2 || got.Failed[path.Envd] != 1 || got.Failed[path.Proxy] != 0 {
		t.Errorf("findings: %+v", got)
	}
	if got.States[path.Broken] != 2 || got.States[path.OK] != 2 {
		t.Errorf("states: %v", got.States)
	}
	if got.Created != 2 || got.Ended["vmm_failed"] != 1 || got.Ended["removed"] != 1 || got.Ended["unknown"] != 0 {
		t.Errorf("created %d, ended %v", got.Created, got.Ended)
	}
	if got.BootFailures["ended"] != 1 || got.Exits[Exit{Signal: "SIGKILL"}] != 1 || len(got.Exits) != 1 {
		t.Errorf("boots that failed %v, exits %v", got.BootFailures, got.Exits)
	}
}
