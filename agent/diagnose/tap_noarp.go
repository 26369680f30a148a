package diagnose

import (
	"cmp"
	"fmt"

	"tapwatch/agent/path"
)

var tapNoARP = Check{
	Code:      "tap-noarp",
	Title:     "ARP is switched off on the tap",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: append([]string{"no-carrier", "tap-address", "guest-route"}, carrierFaults...),
	Run: func(f path.Facts) Result {
		d := f.Device
		// With a permanent entry here, and one in the guest, nobody needs to ask.
		if !d.NoARP || f.Inside.Bridge != "" || d.Neighbour == nil || d.Neighbour.State == permanent {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("ARP is switched off on %s: frames for %s go to no hardware address of the guest's, and the guest's own ARP requests are not answered", d.Name, d.GuestAddr),
			Evidence: []string{
				d.Name + " in " + where(f) + " has the flag NOARP",
				neighbourEvidence(d.Name, "in "+where(f), d.Neighbour),
			},
			Fix: ip(f) + " link set " + d.Name + " arp on",
		})
	},
}

// States of a neighbour: somebody has set it for good; the kernel has never asked for it.
const (
	permanent = "PERMANENT"
	noEntry   = "none"
)

// neighbourEvidence is an entry as ip neigh shows it.
func neighbourEvidence(device, where string, n *path.Neighbour) string {
	return fmt.Sprintf("the neighbour %s on %s %s: lladdr %s, %s", n.Addr, device, where, cmp.Or(n.MAC, "none"), n.State)
}
