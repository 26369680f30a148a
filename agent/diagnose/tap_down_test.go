package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

func tapIsDown(f *path.Facts) { f.Device.AdminUp, f.Device.Operstate = path.No, "down" }

func TestTapDown(t *testing.T) {
	tryCheck(t, tapDown, []look{
		{"up", healthy(), "beside", nil},
		{"down", changed(tapIsDown), "problem", []string{"ENETUNREACH", "ip -n ns-7 link set tap0 up"}},
		{"down and without a VMM", changed(vmmDead, tapIsDown), "problem", nil},
		{"flags unknown", changed(func(f *path.Facts) { f.Device.AdminUp = path.Unknown }), "unknown", []string{"flags are unknown"}},
		{"no tap at all", changed(tapGone, tapIsDown), "suppressed", []string{"tap-missing"}},
		{"down while the sandbox boots", changed(tapIsDown, booting), "booting", nil},
	})
}
