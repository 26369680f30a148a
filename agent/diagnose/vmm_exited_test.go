package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

func noVMMFound(f *path.Facts) { f.Sandbox.VMMPID = 0 }

func TestVMMExited(t *testing.T) {
	tryCheck(t, vmmExited, []look{
		{"runs and holds the tap", healthy(), "beside", nil},
		{"exited", changed(vmmDead), "problem", []string{
			"the VMM has exited", "pid 4242, is no longer a running process", "no process has the tap open",
			"IFLA_CARRIER of tap0 in ns-7 is 0, operstate down; gained so far 1, lost 2", "since 03:03:53.000 (12s ago)", "OOM", "sandbox logs i1",
		}},
		{"none found", changed(vmmDead, noVMMFound), "problem", []string{"no VMM process was found in ns-7"}},
		{"exited while the sandbox boots", changed(vmmDead, booting), "problem", nil},
		{"not started yet", changed(neverAttached, vmmDead, noVMMFound, booting), "beside", nil},
		{"not known whether it runs", changed(vmmDead, func(f *path.Facts) { f.Sandbox.VMMAlive = path.Unknown }), "beside", nil},
		{"exited, but the tap has carrier", changed(func(f *path.Facts) { f.Sandbox.VMMAlive = path.No }), "beside", nil},
		{"exited, carrier unknown", changed(vmmDead, func(f *path.Facts) { f.Device.Carrier = path.Unknown }), "beside", nil},
		{"the tap is down as well", changed(vmmDead, tapIsDown), "suppressed", []string{"tap-down"}},
		{"operstate unknown", changed(vmmDead, func(f *path.Facts) { f.Device.Operstate = "" }), "problem", []string{"operstate unknown"}},
	})
}
