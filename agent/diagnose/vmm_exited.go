package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmExited = Check{
	Code:      "vmm-exited",
	Title:     "NO-CARRIER: the VMM has exited",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"tap-missing", "tap-down"},
	InBoot:    true,
	Run: func(f path.Facts) Result {
		if f.Device.Carrier != path.No || f.Sandbox.VMMAlive != path.No {
			return notApplicable()
		}
		if f.Sandbox.Booting && f.Sandbox.VMMPID == 0 {
			return notApplicable() // not started yet
		}
		ev := carrierEvidence(f)
		if f.Sandbox.VMMPID != 0 {
			ev = append(ev, fmt.Sprintf("the VMM, pid %d, is no longer a running process", f.Sandbox.VMMPID))
		} else {
			ev = append(ev, "no VMM process was found in "+f.Netns)
		}
		return wrong(path.Finding{
			Cause:    "NO-CARRIER: the VMM has exited, so nobody holds " + f.Device.Name,
			Evidence: ev,
			Fix:      "read its last words (tapwatch sandbox logs " + f.Sandbox.ID + ") and the kernel log for an OOM kill; then kill the sandbox and create it anew",
		})
	},
}
