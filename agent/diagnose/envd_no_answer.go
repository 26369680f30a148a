package diagnose

import (
	"time"

	"tapwatch/agent/path"
)

// askedAfter is when a guest that is asked by ARP has answered, or hangs.
const askedAfter = 5 * time.Second

var envdNoAnswer = Check{
	Code:      "envd-no-answer",
	Title:     "The guest does not answer connections to envd's port",
	Hop:       path.Envd,
	Severity:  path.Critical,
	DependsOn: append([]string{"envd-refused"}, envdRefused.DependsOn...),
	Run: func(f path.Facts) Result {
		t := f.Traffic
		switch {
		case t == nil && !f.Health.Time.IsZero() && !f.Health.Connected && !f.Health.Refused && !f.Health.Unreachable:
			return wrong(path.Finding{
				Cause:    "a SYN to envd's port stayed unanswered: a firewall in the guest drops it, or the guest is overloaded, paused, or hangs",
				Evidence: append([]string{healthEvidence(f)}, unjudged(f)...),
				Fix:      "see whether the VMM is stopped or starved of CPU; then the guest's own packet filter",
			})
		case t == nil:
			return notApplicable()
		case synUnanswered(f) > Patience && cutOff(f):
			return behindRules()
		case synUnanswered(f) > Patience && synUnanswered(f) < askedAfter && !t.LastReceive.After(t.EnvdWaiting):
			return unsure("a SYN waits, and nothing has come from the guest since: it is being asked by ARP")
		case synUnanswered(f) > Patience:
			return wrong(path.Finding{
				Cause: "SYNs to envd's port stay unanswered: a firewall in the guest drops them, or the guest is overloaded or paused",
				Evidence: append(append(unansweredEvidence(f),
					"the guest's last frame of any kind: "+ago(f.Now, t.LastReceive)), unjudged(f)...),
				Fix: "see whether the VMM is stopped or starved of CPU; then the guest's own packet filter",
			})
		case !sinceAttach(f, t.LastEnvdSYNACK):
			return unsure("no connection to envd's port was answered yet")
		}
		return fine("answered a SYN " + ago(f.Now, t.LastEnvdSYNACK))
	},
}
