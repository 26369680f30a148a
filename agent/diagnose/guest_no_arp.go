package diagnose

import "tapwatch/agent/path"

// speaksAs is the guest's address as its own frames say, where it is another than the
// path's; empty: it is not, or is not known.
func speaksAs(f path.Facts) string {
	t := f.Traffic
	if t.GuestAddr == f.Device.GuestAddr || !sinceAttach(f, t.GuestSeen) {
		return ""
	}
	return t.GuestAddr
}

// unfound says whether the kernel has asked for a neighbour and got no answer.
func unfound(n *path.Neighbour) bool { return n != nil && n.State == "FAILED" }

var guestNoARP = Check{
	Code:      "guest-no-arp",
	Title:     "The guest sends frames but does not answer ARP for its address",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: append([]string{"guest-silent"}, guestSilent.DependsOn...),
	Run: func(f path.Facts) Result {
		t := f.Traffic
		switch {
		case t == nil && f.Health.Unreachable:
			return wrong(path.Finding{
				Cause:    "the guest does not answer ARP for " + f.Device.GuestAddr + ": it is silent, has no or another address, or hangs",
				Evidence: []string{healthEvidence(f), carrierPresent(f)},
				Fix:      "read the guest's console (" + logs(f) + "); with a running agent the doctor tells more: it sees the guest's frames",
			})
		case t == nil || !heard(f):
			return notApplicable()
		case speaksAs(f) != "" && unfound(f.Device.Neighbour):
			return wrong(path.Finding{
				Cause: "the guest has the address " + speaksAs(f) + ", not " + f.Device.GuestAddr + ": it does not answer ARP for that",
				Evidence: []string{"the guest's own frames say " + speaksAs(f) + ", the last such " + ago(f.Now, t.GuestSeen),
					neighbourEvidence(f.Device.Name, "in "+where(f), f.Device.Neighbour)},
				Fix: "compare the kernel's ip= argument and the address of the guest's NIC (" + logs(f) + ")",
			})
		case arpUnanswered(f) > Patience:
			return wrong(path.Finding{
				Cause: "the guest does not answer ARP for " + f.Device.GuestAddr + ": it has no or another address, or it hangs",
				Evidence: append(unansweredEvidence(f),
					"the guest's last frame of any kind: "+ago(f.Now, t.LastReceive)),
				Fix: "compare the kernel's ip= argument and the address of the guest's NIC (" + logs(f) + "); if its last frame is old, see whether the VMM is stopped or its vCPU spins",
			})
		}
		return fine("last frame " + ago(f.Now, t.LastReceive))
	},
}
