package discover

import (
	"os"
	"os/exec"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// A process of a record that was never seen here may be elsewhere; one that was seen is
// known to have ended.
func TestRecordedProcessesInAnotherPIDNamespace(t *testing.T) {
	cmd := exec.Command("cat")
	c := nettest.Start(t, "", cmd)
	seen, err := proc.ProcessOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := proc.Process{PID: os.Getpid(), Start: 1} // its number is another's here
	records := []registry.Slot{
		{Index: 1, Owner: elsewhere, Sandbox: &registry.Sandbox{ID: "a", VMMProcess: elsewhere}},
		{Index: 2, Owner: seen, Sandbox: &registry.Sandbox{ID: "b", VMMProcess: seen}},
		{Index: 3, Owner: elsewhere},
	}
	n := nested{}
	check := func(alive path.Tristate) {
		t.Helper()
		got := n.visible(records)
		if a := got[0]; a.Owner != (proc.Process{}) || a.Sandbox.VMMProcess != (proc.Process{}) || a.Sandbox.ID != "a" || got[2].Sandbox != nil {
			t.Errorf("%+v of %+v", a.Sandbox, a)
		}
		if b := got[1]; b.Owner != seen || b.Sandbox.VMMProcess != seen || n.alive(seen) != alive {
			t.Errorf("%+v of %+v: %v, want %v", b.Sandbox, b, n.alive(seen), alive)
		}
		if n.alive(elsewhere) != path.Unknown || n.alive(proc.Process{}) != path.Unknown {
			t.Error("what was never seen is not unknown")
		}
	}
	check(path.Yes)
	c.Stop()
	check(path.No)
	if records[0].Sandbox.VMMProcess != elsewhere {
		t.Error("the record itself was changed")
	}
	n.visible(nil)
	if len(n) != 0 {
		t.Errorf("remembered: %v", n)
	}
}
