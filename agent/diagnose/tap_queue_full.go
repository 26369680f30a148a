package diagnose

import (
	"fmt"
	"slices"
	"time"

	"tapwatch/agent/path"
)

// Lately is how long a drop counts as one that goes on.
const Lately = 10 * time.Second

// fullRing is the kernel's reason where a tap's queue has no place left.
const fullRing = "FULL_RING"

var tapQueueFull = Check{
	Code:      "tap-queue-full",
	Title:     "The tap's queue is full: the VMM does not read as fast as frames come",
	Hop:       path.Tap,
	Severity:  path.Warning,
	Loses:     true,
	DependsOn: slices.Concat([]string{"guest-silent"}, guestFaults),
	Last:      true, // what stops a guest fills its queue
	Run: func(f path.Facts) Result {
		if !droppedLately(f, fullRing) {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("the queue of %s is full, and the kernel has dropped %d frames to the guest: the VMM or the guest does not read its NIC, or not fast enough", f.Device.Name, f.Traffic.TransmitDrops[fullRing]),
			Evidence: append([]string{dropsOf(f, fullRing),
				"the guest's last frame of any kind: " + ago(f.Now, f.Traffic.LastReceive)}, unansweredEvidence(f)...),
			Fix: "see whether the VMM gets its CPU (" + top(f) + "; cpu.stat and cpu.max of its control group), has a rate limiter on its NIC, and whether the guest is busy; else send it less",
		})
	},
}

// droppedLately says whether frames to the guest have just been dropped for a
// reason. While the VMM attaches the link is not ready, and some fall by right.
func droppedLately(f path.Facts, reason string) bool {
	if f.Traffic == nil {
		return false
	}
	last := f.Traffic.LastDrops[reason]
	return !last.IsZero() && f.Now.Sub(last) <= Lately && last.Sub(f.Device.Since) > Patience
}

// dropsOf is evidence of what was dropped for a reason.
func dropsOf(f path.Facts, reason string) string {
	return fmt.Sprintf("the kernel has dropped %d frames to the guest for the reason %s, the last %s",
		f.Traffic.TransmitDrops[reason], reason, ago(f.Now, f.Traffic.LastDrops[reason]))
}
