package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var guestSilent = Check{
	Code:      "guest-silent",
	Title:     "Carrier is there, but the guest has never sent a frame",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: guestFaults,
	Run: func(f path.Facts) Result {
		t := f.Traffic
		if t == nil && (f.Health.Connected || f.Health.Refused) {
			return fine("answered " + ago(f.Now, f.Health.Time))
		}
		if t == nil {
			return unsure("no hooks on the tap: its traffic is not seen")
		}
		if heard(f) {
			return notApplicable()
		}
		if f.Device.Carrier != path.Yes {
			return unsure("no frame from the guest, but the carrier is unknown")
		}
		// A neighbour that the host still knows from the slot's last sandbox is not
		// asked for by ARP: then the SYN is what goes unanswered.
		if max(arpUnanswered(f), synUnanswered(f)) <= Patience {
			return unsure("no frame from the guest yet, and nothing has waited long for one")
		}
		if cutOff(f) {
			return behindRules()
		}
		present := "the VMM holds " + f.Device.Name
		if f.Device.Holders != nil && len(f.Device.Holders) == 0 { // a macvtap has its carrier from below
			present = f.Device.Name + " has carrier"
		}
		return wrong(path.Finding{
			Cause: "the guest is silent: " + present + ", but " + since(f) + "no frame ever came out of the guest",
			Evidence: append(unansweredEvidence(f),
				fmt.Sprintf("frames from the guest: %d (the last: %s); frames to it: %d", t.ReceivePackets, ago(f.Now, t.LastReceive), t.TransmitPackets),
				carrierPresent(f)),
			Fix: "read the guest's console (" + logs(f) + "): its kernel has no driver for the NIC (virtio_net), did not get as far as bringing it up, or hangs; then " + anew(f),
		})
	},
}

// since says for how long the tap has had its carrier, where that is known.
func since(f path.Facts) string {
	if f.Device.Since.IsZero() {
		return ""
	}
	return "in " + inWords(f.Now.Sub(f.Device.Since)) + " "
}

// carrierPresent says who gives the tap its carrier, and since when.
func carrierPresent(f path.Facts) string {
	s := f.Device.Name + " has carrier" + heldBy(f.Device.Holders)
	if !f.Device.Since.IsZero() {
		s += ", since " + f.Device.Since.Format("15:04:05.000") + " (" + ago(f.Now, f.Device.Since) + ")"
	}
	return s
}
