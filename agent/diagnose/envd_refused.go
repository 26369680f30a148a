package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var envdRefused = Check{
	Code:      "envd-refused",
	Title:     "The guest refuses connections to envd's port",
	Hop:       path.Envd,
	Severity:  path.Critical,
	DependsOn: append(append([]string{"guest-no-arp", "guest-no-cgroup2"}, envdCodes...), guestNoARP.DependsOn...),
	Run: func(f path.Facts) Result {
		t := f.Traffic
		switch {
		case t == nil && f.Health.Refused:
			return wrong(path.Finding{
				Cause:    "nothing listens on envd's port in the guest, which is up",
				Evidence: []string{healthEvidence(f)},
				Fix:      "read the guest's console (" + logs(f) + "): envd is missing, crashed, or has not started yet",
			})
		case t == nil && !f.Health.Time.IsZero():
			return notApplicable() // others say what came of it
		case t == nil:
			return unsure("no hooks on the tap: its traffic is not seen")
		case sinceAttach(f, t.LastEnvdRefused) && t.LastEnvdRefused.After(t.LastEnvdSYNACK):
			return wrong(path.Finding{
				Cause: "the guest's kernel answers, but nothing listens on envd's port: it resets every connection",
				Evidence: []string{
					"a SYN to envd's port was answered with RST " + ago(f.Now, t.LastEnvdRefused),
					fmt.Sprintf("connections to any port: refused by the guest %d, accepted %d", t.SYNsRefused, t.SYNACKs),
				},
				Fix: "envd has not started, has died, or listens on another address: it binds last, after its cgroup set-up; read the guest's console (" + logs(f) + ")",
			})
		}
		return notApplicable()
	},
}
