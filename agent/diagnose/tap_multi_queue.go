package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var tapMultiQueue = Check{
	Code:      "tap-multi-queue",
	Title:     "NO-CARRIER: the tap was made multi-queue, and the VMM opens it without",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"tap-elsewhere", "tap-missing", "tap-down", "vmm-elsewhere", "vmm-other-tap", "tap-busy", "vmm-zombie", "vmm-exited"},
	Run: func(f path.Facts) Result {
		d := f.Device
		if d.Tun == nil || !d.Tun.MultiQueue || d.Carrier != path.No || f.Sandbox.VMMAlive != path.Yes || d.Holders == nil || len(d.Holders) > 0 {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("EINVAL: %s was made multi-queue, so a VMM that opens it with one queue (pid %d) cannot attach", d.Name, f.Sandbox.VMMPID),
			Evidence: append([]string{"IFLA_TUN_MULTI_QUEUE of " + d.Name + " in " + where(f) + " is 1; Firecracker opens a tap without IFF_MULTI_QUEUE, and the kernel takes no other flag than the tap's"},
				carrierEvidence(f)...),
			Fix: "make the tap without it: " + ip(f) + " tuntap add " + d.Name + " mode tap (no multi_queue), its address and up; then create the sandbox anew",
		})
	},
}
