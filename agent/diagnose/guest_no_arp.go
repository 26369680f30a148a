package diagnose

import "tapwatch/agent/path"

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
				Cause:    "the guest does not answer ARP for " + f.Device.GuestAddr + ": it is silent, has no or another address, or hangs",
				Evidence: append([]string{healthEvidence(f), carrierPresent(f)}, unjudged(f)...),
				Fix:      "read the guest's console (" + logs(f) + "); with a running agent the doctor tells more: it sees the guest's frames",
			})
		case t == nil || !heard(f):
			return notApplicable()
		case arpUnanswered(f) > Patience && cutOff(f):
			return behindRules()
		case arpUnanswered(f) > Patience:
			return wrong(path.Finding{
				Cause: "the guest does not answer ARP for " + f.Device.GuestAddr + ": it has no or another address, or it hangs",
				Evidence: append(append(unansweredEvidence(f),
					"the guest's last frame of any kind: "+ago(f.Now, t.LastReceive)), unjudged(f)...),
				Fix: "compare the kernel's ip= argument and the address of the guest's NIC (" + logs(f) + "); if its last frame is old, see whether the VMM is stopped or its vCPU spins",
			})
		}
		return fine("last frame " + ago(f.Now, t.LastReceive))
	},
}
