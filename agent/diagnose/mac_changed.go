package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var macChanged = Check{
	Code:      "mac-changed",
	Title:     "The tap's hardware address was changed under the guest",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"vmm-stopped", "vmm-not-started", "vmm-paused", "vmm-api-silent"}, tapFaults...),
	Run: func(f path.Facts) Result {
		t := f.Traffic
		if f.Device.MACWas == "" || t == nil {
			return notApplicable()
		}
		severity := path.Severity("")
		if max(arpUnanswered(f), synUnanswered(f)) <= Patience { // the guest has learned it, by ARP
			severity = path.Warning
		}
		return wrong(path.Finding{
			Severity: severity,
			Cause:    fmt.Sprintf("the hardware address of %s was changed under the guest, which answers to the old one: it is %s, and was %s", f.Device.Name, f.Device.MAC, f.Device.MACWas),
			Evidence: append(unansweredEvidence(f),
				"the guest's last frame of any kind: "+ago(f.Now, t.LastReceive)),
			Fix: ip(f) + " link set " + f.Device.Name + " address " + f.Device.MACWas + ", and see who changed it; the guest learns the new one after a minute or so",
		})
	},
}
