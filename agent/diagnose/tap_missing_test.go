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
		{"gone", changed(tapGone), "problem", []string{"no tap0 in ns-7", "wrong namespace"}},
		{"gone, and elsewhere there is one", changed(tapGone, func(f *path.Facts) { f.Device.Elsewhere = []string{"the host's namespace", "ns-lost"} }), "problem",
			[]string{"there is one in the host's namespace, ns-lost, where no slot is: was it made in the wrong namespace?"}},
		{"links not read", changed(func(f *path.Facts) { f.Device.Exists = path.Unknown }), "unknown", []string{"could not be read"}},
		{"gone while the sandbox boots", changed(tapGone, booting), "booting", nil},
	})
}
