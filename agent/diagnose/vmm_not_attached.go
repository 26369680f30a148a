package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmNotAttached = Check{
	Code:      "vmm-not-attached",
	Title:     "NO-CARRIER: the VMM runs but never attached to the tap",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: append([]string{"vmm-no-nic", "tap-owner"}, tapOwner.DependsOn...),
	Run: func(f path.Facts) Result {
		d := f.Device
		if d.Carrier != path.No || f.Sandbox.VMMAlive != path.Yes || d.Holders == nil || len(d.Holders) > 0 {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("NO-CARRIER: the VMM runs (pid %d) but has not opened %s", f.Sandbox.VMMPID, d.Name),
			Evidence: append(carrierEvidence(f),
				fmt.Sprintf("pid %d is alive and has no queue of this tap", f.Sandbox.VMMPID)),
			Fix: "its network interface was not configured: the API call is missing or failed, or names another host_dev_name than " + d.Name +
				"; or the VMM sits in another namespace and made a tap of its own there",
		})
	},
}
