package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"tapwatch/agent/path"
)

var guestMACMismatch = Check{
	Code:      "guest-mac-mismatch",
	Title:     "The namespace sends to another hardware address than the guest's",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"vmm-stopped", "vmm-paused", "vmm-not-started"}, tapFaults...),
	Run: func(f path.Facts) Result {
		n := f.Device.Neighbour
		macs, says := guestMACs(f)
		if len(macs) == 0 || n == nil || n.MAC == "" || slices.Contains(macs, n.MAC) {
			return notApplicable()
		}
		// What its frames say is so, and a permanent entry stays. Else a guest may have
		// taken another address by itself: then it answers.
		sure := framesMAC(f) != "" && n.State == permanent
		if !sure && (f.Traffic == nil || synUnanswered(f) <= Patience) {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("%s sends frames for %s to the hardware address %s, but the guest's NIC has %s: the guest drops them", where(f), f.Device.GuestAddr, n.MAC, strings.Join(macs, ", ")),
			Evidence: append([]string{
				neighbourEvidence(f.Device.Name, "in "+where(f), n),
				says,
			}, unansweredEvidence(f)...),
			Fix: fmt.Sprintf("%s neigh del %s dev %s, after which the kernel asks the guest by ARP; see who set a permanent entry, or whether the guest's snapshot was taken with another guest_mac: else the fault comes again", ip(f), f.Device.GuestAddr, f.Device.Name),
		})
	},
}
