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
		macs, n := guestMACs(f), f.Device.Neighbour
		if len(macs) == 0 || n == nil || n.MAC == "" || slices.Contains(macs, n.MAC) {
			return notApplicable()
		}
		// A guest may have taken another address by itself: then it answers.
		if f.Traffic == nil || synUnanswered(f) <= Patience {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("frames for %s go to %s, but the guest's NIC is %s: the guest drops them", f.Device.GuestAddr, n.MAC, strings.Join(macs, ", ")),
			Evidence: append([]string{
				fmt.Sprintf("the neighbour %s on %s in %s: lladdr %s, %s", f.Device.GuestAddr, f.Device.Name, where(f), n.MAC, n.State),
				apiSays(f),
			}, unansweredEvidence(f)...),
			Fix: fmt.Sprintf("%s neigh del %s dev %s: the kernel asks the guest then; a permanent entry, or a snapshot taken with another guest_mac, comes again", ip(f), f.Device.GuestAddr, f.Device.Name),
		})
	},
}
