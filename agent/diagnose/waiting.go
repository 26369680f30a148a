package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

// Patience is path.Patience.
const Patience = path.Patience

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

// unansweredFor is how long the guest has left requests of whatever kind unanswered. Where
// no hooks are, the agent's own question is all that is known.
func unansweredFor(f path.Facts) time.Duration {
	if f.Traffic != nil {
		return max(arpUnanswered(f), synUnanswered(f))
	}
	if h := f.Health; h.TimedOut || h.Unreachable {
		return h.Took
	}
	return 0
}

// asksInVain says whether requests to the guest fail for want of an answer: SYNs or ARP wait
// too long, or envd has left the agent's own question unanswered.
func asksInVain(f path.Facts) bool {
	h := f.Health
	return unansweredFor(f) > Patience || !h.Time.IsZero() && (h.TimedOut || h.Unreachable)
}

// resentMost is the longest pause between two times that a client sends a request again.
const resentMost = 30 * time.Second

// awaited is how long requests have waited whose clients still wait. TCP sends a SYN again
// after as long as it has waited already: whoever has not by then has given up.
func awaited(f path.Facts) time.Duration {
	t := f.Traffic
	if t == nil {
		return 0
	}
	wanted := func(first, last time.Time) bool {
		return f.Now.Sub(last) <= min(last.Sub(first), resentMost)+3*time.Second
	}
	var d time.Duration
	if wanted(t.ARPWaiting, t.LastARPRequest) {
		d = arpUnanswered(f)
	}
	if wanted(t.EnvdWaiting, t.LastEnvdSYN) {
		d = max(d, synUnanswered(f))
	}
	return d
}

// unansweredEvidence tells what waits for the guest.
func unansweredEvidence(f path.Facts) []string {
	t := f.Traffic
	var ev []string
	if d := arpUnanswered(f); d > 0 {
		ev = append(ev, fmt.Sprintf("the guest was asked for %s by ARP %s, and answered %s; it has not answered for %s",
			f.Device.GuestAddr, times(t.ARPRequests), times(t.ARPReplies), inWords(d)))
	}
	if d := synUnanswered(f); d > 0 {
		ev = append(ev, fmt.Sprintf("the guest has left connections (SYNs) to envd's port unanswered for %s", inWords(d)))
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
