package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

func stopped(f *path.Facts) { f.Sandbox.VMMStopped = path.Yes }

func TestVMMStopped(t *testing.T) {
	tryCheck(t, vmmStopped, []look{
		{"not known", healthy(), "beside", nil},
		{"runs", changed(func(f *path.Facts) { f.Sandbox.VMMStopped = path.No }), "beside", nil},
		{"stopped", changed(synDropped, stopped), "problem", []string{"pid 4242, is stopped", "kill -CONT 4242", "8s ago"}},
		{"stopped by a debugger", changed(synDropped, stopped, func(f *path.Facts) {
			f.Sandbox.Process = &path.VMMProcess{Tracer: &path.Holder{PID: 77, Command: "gdb"}}
		}), "problem", []string{"stopped by the debugger gdb (pid 77)", "have gdb (pid 77) continue or detach"}},
		{"one thread of it", changed(synDropped, stuck("t", "ptrace_stop", 6)), "problem", []string{"the thread fc_vcpu 0 of the VMM, pid 4242, is stopped"}},
		{"one thread of it for an instant", changed(synDropped, stuck("t", "ptrace_stop", 0.2)), "beside", nil},
		{"stopped, no hooks", changed(noHooks, stopped), "problem", nil},
		{"stopped while the sandbox boots", changed(noTrafficYet, stopped, booting), "problem", nil},
	})
	d := Run(changed(synDropped, stopped))
	if len(d.Findings) != 1 || d.BrokenAt() != path.Guest {
		t.Errorf("a stopped VMM alone: %s", summary(d))
	}
}
