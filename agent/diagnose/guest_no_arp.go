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
	Inferred:  true,
	DependsOn: append([]string{"guest-silent"}, guestSilent.DependsOn...),
	Run: func(f path.Facts) Result {
		t := f.Traffic
		switch {
		case t == nil && f.Health.Unreachable:
			return wrong(path.Finding{
				Cause:    "the guest does not answer ARP for " + f.Device.GuestAddr + ": it is silent, has no address or another, or hangs",
				Evidence: append([]string{healthEvidence(f), carrierPresent(f)}, unjudged(f)...),
				Fix:      "read the guest's console (" + logs(f) + "); run the agent, which sees the guest's frames, and the doctor says more",
			})
		case t == nil || !heard(f):
			return notApplicable()
		case arpUnanswered(f) > Patience && cutOff(f):
			return behindRules()
		case speaksAs(f) != "" && unfound(f.Device.Neighbour):
			return wrong(path.Finding{
				Cause: "the guest has the address " + speaksAs(f) + ", not " + f.Device.GuestAddr + ", so it does not answer ARP for that",
				Evidence: []string{"the guest's own frames come from " + speaksAs(f) + ", the last such " + ago(f.Now, t.GuestSeen),
					neighbourEvidence(f.Device.Name, "in "+where(f), f.Device.Neighbour)},
				Fix: "find what gives the guest that address, ip= in its kernel's arguments or its image (its console shows both: " + logs(f) + "), and correct it; or have the network of the sandbox expect " + speaksAs(f),
			})
		case arpUnanswered(f) > Patience:
			return wrong(path.Finding{
				Cause: "the guest has not answered ARP for " + f.Device.GuestAddr + " for " + inWords(arpUnanswered(f)) + ": it has no address or another, or it hangs",
				Evidence: append(append(unansweredEvidence(f),
					"the guest's last frame of any kind: "+ago(f.Now, t.LastReceive)), unjudged(f)...),
				Fix: "see which address the guest gives its eth0 (its console: " + logs(f) + "): it should be " + f.Device.GuestAddr + ", by ip= in its kernel's arguments or by its image; where its last frame is old, see whether a vCPU spins (" + top(f) + ")",
			})
		}
		return fine("last frame " + ago(f.Now, t.LastReceive))
	},
}
