package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

func TestVMMNotAttached(t *testing.T) {
	holdersUnknown := func(f *path.Facts) { f.Device.Holders = nil }
	tryCheck(t, vmmNotAttached, []look{
		{"attached", healthy(), "beside", nil},
		{"never attached", changed(neverAttached), "problem", []string{
			"the VMM runs (pid 4242) but has not opened tap0", "it never had carrier since it was created", "no process has the tap open",
			"the VMM, pid 4242, runs and does not have this tap open", "/proc/4242/cmdline", "elsewhere it made a tap of its own",
		}},
		{"let go again", changed(noCarrierThere), "problem", []string{"carrier came once and went twice"}},
		{"holders unknown", changed(neverAttached, holdersUnknown), "beside", nil},
		{"somebody holds the tap", changed(noCarrierThere, func(f *path.Facts) { f.Device.Holders = healthy().Device.Holders }), "beside", nil},
		{"not known whether the VMM runs", changed(neverAttached, func(f *path.Facts) { f.Sandbox.VMMAlive = path.Unknown }), "beside", nil},
		{"the VMM has exited", changed(vmmDead), "beside", nil},
		{"the tap is down as well", changed(neverAttached, tapIsDown), "suppressed", []string{"tap-down"}},
		{"while the sandbox boots", changed(neverAttached, booting), "booting", []string{"has not opened tap0"}},
	})
}
