package diagnose

import "tapwatch/agent/path"

// Where the VMM's hand is, if not on its tap, is told by the taps that it has open.

// held returns the first tap that the VMM has open and that fits.
func held(f path.Facts, fits func(path.HeldTap) bool) (path.HeldTap, bool) {
	for _, h := range f.Sandbox.Holds {
		if fits(h) {
			return h, true
		}
	}
	return path.HeldTap{}, false
}
