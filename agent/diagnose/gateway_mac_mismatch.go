package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

// strayHold is for how long packets to another hardware address are told of.
const strayHold = 10 * time.Second

var gatewayMAC = Check{
	Code:      "gateway-mac-mismatch",
	Title:     "The guest sends to another hardware address than the tap's",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: append([]string{"vmm-stopped", "vmm-paused", "vmm-not-started"}, tapFaults...),
	Fades:     true,
	Run: func(f path.Facts) Result {
		n := f.Inside.OtherHost
		if f.Device.MACWas != "" { // until the guest has learned the new one: mac-changed
			return notApplicable()
		}
		if n == nil || f.Inside.Bridge != "" || !sinceAttach(f, n.Last) || f.Now.Sub(n.Last) > strayHold {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("the guest sends to another hardware address than that of %s, %s: the kernel of %s drops such frames on arrival", f.Device.Name, f.Device.MAC, where(f)),
			Evidence: []string{fmt.Sprintf("the kernel has dropped %d packets that came in by %s for another hardware address, the last %s (rx_otherhost_dropped)", n.Count, f.Device.Name, ago(f.Now, n.Last))},
			Fix: "see to which address the guest sends (" + in(f) + "tcpdump -eni " + f.Device.Name + ") and give it to " + f.Device.Name +
				" (" + ip(f) + " link set " + f.Device.Name + " address MAC): a snapshot may have kept the address of another tap; where the guest itself has a wrong entry for its gateway, " + anew(f),
		})
	},
}
