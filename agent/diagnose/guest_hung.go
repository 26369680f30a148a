package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var guestHung = Check{
	Code:      "guest-hung",
	Title:     "The guest was up, and now answers nothing at all",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"vmm-stopped", "vmm-paused", "vmm-api-silent", "mac-changed", "guest-mac-mismatch", "guest-no-init", "guest-panic"}, tapFaults...),
	Run: func(f path.Facts) Result {
		t := f.Traffic
		if t == nil || !sinceAttach(f, t.LastEnvdSYNACK) || arpUnanswered(f) <= Patience || t.LastReceive.After(t.ARPWaiting) {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: "the guest hangs: it answered before, and now not even ARP, while its VMM runs",
			Evidence: append(unansweredEvidence(f),
				"the guest's last frame of any kind: "+ago(f.Now, t.LastReceive),
				"envd's port last answered: "+ago(f.Now, t.LastEnvdSYNACK)),
			Fix: "read the guest's console (" + logs(f) + ") for a panic, a halt or an OOM kill; see whether a vCPU spins (top -H -p " + fmt.Sprint(f.Sandbox.VMMPID) + ") or is paused through the VMM's API",
		})
	},
}
