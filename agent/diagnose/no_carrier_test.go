package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

// vmmUnseen is NO-CARRIER where nothing is known of a VMM.
func vmmUnseen(f *path.Facts) {
	noCarrierThere(f)
	f.Sandbox.VMMAlive, f.Sandbox.VMMPID, f.Device.Holders = path.Unknown, 0, nil
}

func TestNoCarrier(t *testing.T) {
	held := func(f *path.Facts) { f.Device.Holders = healthy().Device.Holders }
	twice := func(f *path.Facts) { f.Device.Holders = append(f.Device.Holders, path.Holder{PID: 4243, Command: "x"}) }
	tryCheck(t, noCarrier, []look{
		{"carrier", healthy(), "ok", []string{"carrier, held by qemu-system-x86 (pid 4242)"}},
		{"carrier, two holders", changed(twice), "ok", []string{"(pid 4242) and 1 more"}},
		{"carrier, holders unknown", changed(func(f *path.Facts) { f.Device.Holders = nil }), "ok", []string{"carrier"}},
		{"none, VMM unknown", changed(vmmUnseen), "problem",
			[]string{"NO-CARRIER on tap0", "which process has the tap open is not known", "tap0 in ns-7 has no carrier"}},
		{"none, held all the same", changed(noCarrierThere, held), "problem",
			[]string{"although it is held by qemu-system-x86 (pid 4242)", "the tap is open, held by qemu-system-x86 (pid 4242)"}},
		{"carrier unknown", changed(func(f *path.Facts) { f.Device.Carrier = path.Unknown }), "unknown", []string{"the carrier is unknown"}},
		{"the VMM has exited", changed(vmmDead), "suppressed", []string{"vmm-exited"}},
		{"the VMM did not attach", changed(neverAttached), "suppressed", []string{"vmm-not-attached"}},
		{"the tap is down", changed(vmmUnseen, tapIsDown), "suppressed", []string{"tap-down"}},
		{"while the sandbox boots", changed(vmmUnseen, booting), "booting", []string{"NO-CARRIER"}},
		{"before the VMM is started", changed(neverAttached, vmmDead, noVMMFound, booting), "booting", nil},
	})
}
