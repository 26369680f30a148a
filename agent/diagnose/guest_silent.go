package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

var guestSilent = Check{
	Code:      "guest-silent",
	Title:     "Carrier is there, but the guest has never sent a frame",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: []string{"tap-missing", "tap-down", "vmm-exited", "vmm-not-attached", "no-carrier"},
	Run: func(f path.Facts) Result {
		t := f.Traffic
		if t == nil {
			return unsure("no hooks on the tap: its traffic is not seen")
		}
		if heard(f) {
			return notApplicable()
		}
		if !waitsTooLong(f.Now, t.ARPWaiting) {
			return unsure("no frame from the guest yet, and none asked for")
		}
		return wrong(path.Finding{
			Cause: "the guest is silent: the VMM holds " + f.Device.Name + ", but no frame ever came out of the guest",
			Evidence: []string{
				fmt.Sprintf("frames from the guest: %d; to it: %d", t.ReceivePackets, t.TransmitPackets),
				fmt.Sprintf("ARP requests for %s: %d, replies: %d, the first unanswered one %s ago",
					f.Device.GuestAddr, t.ARPRequests, t.ARPReplies, ago(f.Now, t.ARPWaiting)),
				"carrier of " + f.Device.Name + " is 1" + heldBy(f.Device.Holders),
			},
			Fix: "read the guest's console (tapwatch sandbox logs " + f.Sandbox.ID + "): its kernel has no driver for the NIC (virtio_net), did not get as far as bringing eth0 up, or hangs",
		})
	},
}

// heard says whether any frame came from the guest since the VMM attached.
func heard(f path.Facts) bool {
	last := f.Traffic.LastReceive
	return !last.IsZero() && !last.Before(f.Device.Since)
}

func waitsTooLong(now, since time.Time) bool {
	return !since.IsZero() && now.Sub(since) > Patience
}

// ago is a duration for people.
func ago(now, then time.Time) string {
	d := now.Sub(then)
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
