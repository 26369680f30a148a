package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmOtherTap = Check{
	Code:      "vmm-other-tap",
	Title:     "NO-CARRIER: the VMM has another tap of the namespace",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"tap-elsewhere", "tap-missing", "tap-down", "vmm-elsewhere"},
	Run: func(f path.Facts) Result {
		h, ok := held(f, func(h path.HeldTap) bool { return h.Here && h.Device != f.Device.Name })
		if f.Device.Carrier != path.No || f.Sandbox.VMMAlive == path.No {
			return notApplicable()
		}
		if devices, other := toldOther(f); other && !ok {
			return wrong(path.Finding{
				Cause:    fmt.Sprintf("NO-CARRIER: the VMM (pid %d) was told to use %s, but the slot's tap is %s", f.Sandbox.VMMPID, devices, f.Device.Name),
				Evidence: append([]string{apiSays(f)}, carrierEvidence(f)...),
				Fix:      otherTapFix(f),
			})
		}
		if !ok {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("NO-CARRIER: the VMM (pid %d) was given %s, but the slot's tap is %s", f.Sandbox.VMMPID, h.Device, f.Device.Name),
			Evidence: append(carrierEvidence(f), fmt.Sprintf("the VMM (pid %d) has %s open instead", f.Sandbox.VMMPID, h.Device)),
			Fix:      otherTapFix(f),
		})
	},
}

func otherTapFix(f path.Facts) string {
	return "give the VMM the right name (Firecracker: host_dev_name of the network interface, from its configuration or its snapshot), which is " + f.Device.Name + "; a running one takes no other, so " + anew(f)
}
