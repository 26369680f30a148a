package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var tapElsewhere = Check{
	Code:     "tap-elsewhere",
	Title:    "The tap is in another namespace",
	Hop:      path.Tap,
	Severity: path.Critical,
	Run: func(f path.Facts) Result {
		if f.Device.Exists != path.No {
			return notApplicable()
		}
		h, ok := held(f, func(h path.HeldTap) bool { return !h.Here })
		if !ok {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("%s is not in %s: the VMM's tap is %s in %s", f.Device.Name, f.Netns, h.Device, h.Netns),
			Evidence: []string{"no device of that name among the namespace's links",
				fmt.Sprintf("the VMM (pid %d) has %s of %s open", f.Sandbox.VMMPID, h.Device, h.Netns)},
			Fix: fmt.Sprintf("bring it back (ip -n %s link set %s netns %s, then its address and up), or make the slot anew", h.Netns, h.Device, f.Netns),
		})
	},
}
