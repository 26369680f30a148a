package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

// Patience is how long a guest may leave an ARP request or a SYN unanswered
// before that is a problem: one retransmission of the kernel's.
const Patience = 1500 * time.Millisecond

// sinceAttach says whether something was seen while the present VMM held the
// tap. Slots are reused and the hooks keep counting: what was seen earlier is
// another guest's.
func sinceAttach(f path.Facts, t time.Time) bool {
	return !t.IsZero() && !t.Before(f.Device.Since)
}

// heard says whether any frame came from the guest since the VMM attached.
func heard(f path.Facts) bool { return sinceAttach(f, f.Traffic.LastReceive) }

// unanswered is how long the guest has left requests unanswered, 0 where none
// waits. It counts from the VMM's attach at the earliest: who asked before was
// heard by nobody.
func unanswered(f path.Facts, first, last time.Time) time.Duration {
	if first.IsZero() {
		return 0
	}
	if first.Before(f.Device.Since) {
		if last.Before(f.Device.Since) {
			return 0
		}
		first = f.Device.Since
	}
	return f.Now.Sub(first)
}

// arpUnanswered is how long ARP requests for the guest wait. An answer of the
// guest's TCP ends the wait too: a host that learned the guest's MAC from the
// guest's own request never asks again, so no reply will ever come.
func arpUnanswered(f path.Facts) time.Duration {
	t := f.Traffic
	if n := f.Device.Neighbour; n != nil && n.State == noEntry { // what was asked for is not the guest
		return 0
	}
	for _, answer := range []time.Time{t.LastEnvdSYNACK, t.LastEnvdRefused} {
		if sinceAttach(f, answer) && answer.After(t.ARPWaiting) {
			return 0
		}
	}
	return unanswered(f, t.ARPWaiting, t.LastARPRequest)
}

// synUnanswered is how long SYNs to envd's port wait.
func synUnanswered(f path.Facts) time.Duration {
	return unanswered(f, f.Traffic.EnvdWaiting, f.Traffic.LastEnvdSYN)
}

// unansweredEvidence tells what waits for the guest.
func unansweredEvidence(f path.Facts) []string {
	t := f.Traffic
	var ev []string
	if d := arpUnanswered(f); d > 0 {
		ev = append(ev, fmt.Sprintf("ARP requests for %s: %d, replies: %d, unanswered for %s",
			f.Device.GuestAddr, t.ARPRequests, t.ARPReplies, inWords(d)))
	}
	if d := synUnanswered(f); d > 0 {
		ev = append(ev, fmt.Sprintf("SYNs to envd's port: unanswered for %s", inWords(d)))
	}
	return ev
}

// ago says how long ago something was, or that it never was.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return "never"
	}
	return inWords(now.Sub(then)) + " ago"
}

// inWords is a duration for people. What happened while the facts were being
// gathered may lie after their time: that is 0s.
func inWords(d time.Duration) string {
	if d < time.Minute {
		return max(d, 0).Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
