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
			Cause: fmt.Sprintf("%s was made for several queues, so a VMM that opens it with one (pid %d) cannot attach to it (EINVAL)", d.Name, f.Sandbox.VMMPID),
			Evidence: append([]string{d.Name + " in " + where(f) + " is multi_queue (" + ip(f) + " -d link show " + d.Name + "); Firecracker opens a tap with one queue, and the kernel wants both to be the same"},
				carrierEvidence(f)...),
			Fix: "make the tap without it (" + ip(f) + " link del " + d.Name + "; " + ip(f) + " tuntap add " + d.Name + " mode tap, its address and up; no multi_queue), in whatever makes the slots too; then " + anew(f),
		})
	},
}
