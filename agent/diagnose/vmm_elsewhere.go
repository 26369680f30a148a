package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmElsewhere = Check{
	Code:      "vmm-elsewhere",
	Title:     "NO-CARRIER: the VMM has a tap of another namespace",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"tap-elsewhere", "tap-missing", "tap-down"},
	Run: func(f path.Facts) Result {
		h, ok := held(f, func(h path.HeldTap) bool { return !h.Here })
		if !ok || f.Device.Carrier != path.No {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("NO-CARRIER: the VMM (pid %d) has opened %s in %s, not in %s", f.Sandbox.VMMPID, h.Device, named(h.Netns), where(f)),
			Evidence: append(carrierEvidence(f), fmt.Sprintf("the VMM (pid %d) has %s of %s open", f.Sandbox.VMMPID, h.Device, named(h.Netns))),
			Fix:      "the VMM must start inside the slot's namespace" + started(f) + ": see how it was started (" + launcherLog(f) + "), mend that, then " + anew(f),
		})
	},
}
