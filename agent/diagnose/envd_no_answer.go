package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var envdNoAnswer = Check{
	Code:      "envd-no-answer",
	Title:     "The guest does not answer connections to envd's port",
	Hop:       path.Envd,
	Severity:  path.Critical,
	DependsOn: append([]string{"envd-refused"}, envdRefused.DependsOn...),
	Run: func(f path.Facts) Result {
		t := f.Traffic
		switch {
		case t == nil:
			return notApplicable()
		case waitsTooLong(f.Now, t.EnvdWaiting):
			return wrong(path.Finding{
				Cause: "SYNs to envd's port stay unanswered: a firewall in the guest drops them, or the guest is overloaded or paused",
				Evidence: []string{
					fmt.Sprintf("the first unanswered SYN was sent %s ago", ago(f.Now, t.EnvdWaiting)),
					fmt.Sprintf("the guest's last frame of any kind: %s ago", ago(f.Now, t.LastReceive)),
				},
				Fix: "see whether the VMM is stopped or starved of CPU; then the guest's own packet filter",
			})
		case t.LastEnvdSYNACK.IsZero():
			return unsure("no connection to envd's port was seen yet")
		}
		return fine(fmt.Sprintf("answered a SYN %s ago", ago(f.Now, t.LastEnvdSYNACK)))
	},
}
