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
				Cause:    fmt.Sprintf("nothing listens on port %d, envd's, in the guest, which is up", f.Port()),
				Evidence: []string{healthEvidence(f)},
				Fix:      noEnvdFix(f),
			})
		case t == nil && !f.Health.Time.IsZero():
			return notApplicable() // others say what came of it
		case t == nil:
			return unsure("no hooks on the tap: its traffic is not seen")
		case sinceAttach(f, t.LastEnvdRefused) && t.LastEnvdRefused.After(t.LastEnvdSYNACK):
			return wrong(path.Finding{
				Cause: fmt.Sprintf("the guest's kernel answers, but nothing listens on port %d, envd's: it resets every connection", f.Port()),
				Evidence: []string{
					"the guest's kernel reset a connection to envd's port " + ago(f.Now, t.LastEnvdRefused),
					fmt.Sprintf("of the connections to any of its ports the guest refused %d and accepted %d", t.SYNsRefused, t.SYNACKs),
				},
				Fix: noEnvdFix(f),
			})
		}
		return notApplicable()
	},
}

// noEnvdFix is where it stands why envd does not listen.
func noEnvdFix(f path.Facts) string {
	return "read the guest's console (" + logs(f) + ") for why envd does not listen: it is missing, has died, listens on another address, or has not started yet; it opens its port last, after its set-up of cgroups"
}
