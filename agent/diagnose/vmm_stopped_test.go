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
		{"stopped, no hooks", changed(noHooks, stopped), "problem", nil},
		{"stopped while the sandbox boots", changed(noTrafficYet, stopped, booting), "problem", nil},
	})
	d := Run(changed(synDropped, stopped))
	if len(d.Findings) != 1 || d.BrokenAt() != path.Guest {
		t.Errorf("a stopped VMM alone: %s", summary(d))
	}
}
