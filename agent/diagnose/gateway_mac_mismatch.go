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
			Cause:    fmt.Sprintf("what the guest sends is for another hardware address than that of %s, %s: %s drops it on arrival", f.Device.Name, f.Device.MAC, where(f)),
			Evidence: []string{fmt.Sprintf("packets that came in by %s for other hardware addresses (rx_otherhost_dropped): %d, more of them %s", f.Device.Name, n.Count, ago(f.Now, n.Last))},
			Fix: "in the guest, ip neigh show " + f.Device.Addr + ": delete a wrong or permanent entry there (ip neigh flush all); or give " + f.Device.Name +
				" the address that the guest's snapshot knows (" + ip(f) + " link set " + f.Device.Name + " address MAC)",
		})
	},
}
