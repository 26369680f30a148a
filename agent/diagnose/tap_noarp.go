package diagnose

import (
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
			Cause: fmt.Sprintf("ARP is switched off on %s: the kernel of %s cannot learn the hardware address of %s, and does not answer the guest's own ARP requests", d.Name, where(f), d.GuestAddr),
			Evidence: []string{
				"the flags of " + d.Name + " in " + where(f) + " have NOARP",
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
	has := "no hardware address"
	if n.MAC != "" {
		has = "the hardware address " + n.MAC
	}
	return fmt.Sprintf("%s %s has %s for %s (ip neigh: %s)", device, where, has, n.Addr, n.State)
}
