package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmNoNIC = Check{
	Code:      "vmm-no-nic",
	Title:     "NO-CARRIER: the VMM was never given a network interface",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: append([]string{"tap-owner"}, tapOwner.DependsOn...), // of these it may have been refused
	Run: func(f path.Facts) Result {
		interfaces, known := told(f)
		if !known || len(interfaces) > 0 || f.Device.Carrier != path.No || f.Sandbox.VMMAlive == path.No {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("NO-CARRIER: the VMM (pid %d) was never given a network interface, so it cannot have opened %s", f.Sandbox.VMMPID, f.Device.Name),
			Evidence: append([]string{apiSays(f)}, carrierEvidence(f)...),
			Fix: "see what came of PUT /network-interfaces/eth0 with host_dev_name " + f.Device.Name + " (" + launcherLog(f) +
				"): it was not sent, or was refused; a running VMM takes no NIC, so mend that and " + anew(f),
		})
	},
}
