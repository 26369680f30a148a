package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

// tapGone is what is known where the namespace has no such device.
func tapGone(f *path.Facts) {
	f.Device = path.Device{Name: "tap0", Addr: "169.254.0.22", GuestAddr: "169.254.0.21", Exists: path.No}
	f.Traffic = nil
}

func TestTapMissing(t *testing.T) {
	tryCheck(t, tapMissing, []look{
		{"there", healthy(), "beside", nil},
		{"gone", changed(tapGone), "problem", []string{"no tap0 in ns-7", "look for it in other namespaces"}},
		{"gone, and elsewhere there is one", changed(tapGone, func(f *path.Facts) { f.Device.Elsewhere = []string{"the host's namespace", "ns-lost"} }), "problem",
			[]string{"a tap of that name, which nobody holds, is in the host's namespace, ns-lost, where no slot is: was it made in the wrong namespace?"}},
		{"gone with its VMM, which had made it", changed(goneWithVMM), "beside", nil},
		{"gone, though its VMM runs, which had made it", changed(goneWithVMM, func(f *path.Facts) { f.Sandbox.VMMAlive, f.Sandbox.VMMExit = path.Yes, nil }), "problem", nil},
		{"gone from the agent's own namespace", changed(tapGone, onHost), "problem", []string{"there is no tap0 in the host's namespace", "the host's namespace has no device tap0 (ip link)"}},
		{"links not read", changed(func(f *path.Facts) { f.Device.Exists = path.Unknown }), "unknown", []string{"could not be read"}},
		{"gone while the sandbox boots", changed(tapGone, booting), "booting", nil},
	})
}
