package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

// heldByAnother is a tap that a process holds which is not the sandbox's VMM.
func heldByAnother(f *path.Facts) {
	f.Sandbox.VMMAlive = path.No
	f.Device.Holders = []path.Holder{{PID: 99, Command: "firecracker", SameNS: true}}
}

func TestTapBusy(t *testing.T) {
	tryCheck(t, tapBusy, []look{
		{"the VMM holds it", healthy(), "beside", nil},
		{"nobody holds it", changed(vmmDead), "beside", nil},
		{"another holds it, and the VMM has ended", changed(heldByAnother, noTrafficYet), "problem",
			[]string{"EBUSY", "held by firecracker (pid 99)", "pid 4242, is no longer a running process", "what pid 99 is"}},
		{"while the sandbox boots", changed(heldByAnother, noTrafficYet, booting), "problem", nil},
		{"another holds it, and the VMM runs", changed(heldByAnother, func(f *path.Facts) { f.Sandbox.VMMAlive = path.Yes }), "beside", nil},
		{"no VMM was started yet", changed(heldByAnother, noVMMFound), "beside", nil},
		{"the holders were read before the VMM ended", changed(func(f *path.Facts) { f.Sandbox.VMMAlive = path.No }), "beside", nil},
		{"the tap is down", changed(heldByAnother, tapIsDown), "suppressed", []string{"tap-down"}},
	})
}
