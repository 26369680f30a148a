package diagnose

import (
	"testing"
	"time"

	"tapwatch/agent/path"
)

// heldByAnother is a tap that a process holds which is not the sandbox's VMM.
func heldByAnother(f *path.Facts) {
	f.Sandbox.VMMAlive = path.No
	f.Device.Holders = []path.Holder{{PID: 99, Command: "firecracker", SameNS: true}}
}

func runs(f *path.Facts) { f.Sandbox.VMMAlive = path.Yes }

func TestTapBusy(t *testing.T) {
	tryCheck(t, tapBusy, []look{
		{"the VMM holds it", healthy(), "beside", nil},
		{"nobody holds it", changed(vmmDead), "beside", nil},
		{"another holds it, and the VMM has ended", changed(heldByAnother, noTrafficYet), "problem",
			[]string{"EBUSY", "held by firecracker (pid 99)", "pid 4242, is no longer a running process", "what pid 99 is"}},
		{"while the sandbox boots", changed(heldByAnother, noTrafficYet, booting), "problem", nil},
		{"another holds it, and the VMM runs", changed(heldByAnother, runs), "problem", []string{
			"tap0 is held by firecracker (pid 99), so this VMM (pid 4242) cannot attach to it (EBUSY)", "the VMM, pid 4242, runs and does not have this tap open", "see what pid 99 is (ps -fp 99) and end it"}},
		{"another sandbox's VMM holds it, and this one runs", changed(heldByAnother, runs, func(f *path.Facts) { f.Device.Holders[0].SandboxID = "i0" }), "problem", []string{
			"held by firecracker (pid 99), the VMM of sandbox i0, so this VMM", "two VMMs were started for one tap", "this one, pid 4242, which came later"}},
		{"another sandbox's VMM has it for a moment", changed(heldByAnother, runs, func(f *path.Facts) {
			f.Device.Holders[0].SandboxID, f.Device.Since = "i0", secondsAgo(0.1)
		}), "problem", nil},
		{"another holds it for a moment", changed(heldByAnother, runs, func(f *path.Facts) { f.Device.Since = secondsAgo(0.4) }), "unknown", []string{"as yet for a moment"}},
		{"another has held it since before the agent came", changed(heldByAnother, runs, func(f *path.Facts) { f.Device.Since = time.Time{} }), "problem", nil},
		{"another holds it beside the VMM", changed(heldByAnother, runs, func(f *path.Facts) {
			f.Device.Holders = append(f.Device.Holders, path.Holder{PID: 4242, Command: "qemu-system-x86", SameNS: true})
		}), "beside", nil},
		{"not known whether the VMM runs", changed(heldByAnother, func(f *path.Facts) { f.Sandbox.VMMAlive = path.Unknown }), "beside", nil},
		{"another has it open, without carrier", changed(heldByAnother, runs, func(f *path.Facts) { f.Device.Carrier = path.No }), "beside", nil},
		{"it held the tap to its end", changed(heldByAnother, ended("was killed by SIGKILL", path.Yes)), "beside", nil},
		{"it was refused the tap, with its file open", changed(heldByAnother, ended("ended with status 1", path.Yes)), "problem", []string{"EBUSY"}},
		{"it had let go of the tap before its end", changed(heldByAnother, ended("ended with status 1", path.No)), "problem", nil},
		{"no VMM was started yet", changed(heldByAnother, noVMMFound), "beside", nil},
		{"the holders were read before the VMM ended", changed(func(f *path.Facts) { f.Sandbox.VMMAlive = path.No }), "beside", nil},
		{"the tap is down", changed(heldByAnother, tapIsDown), "suppressed", []string{"tap-down"}},
	})
}
