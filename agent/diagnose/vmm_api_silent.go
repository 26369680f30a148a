package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

// apiPatience is how long a VMM's API may be silent: it does not answer while it
// writes a snapshot.
const apiPatience = 10 * time.Second

var vmmAPISilent = Check{
	Code:      "vmm-api-silent",
	Title:     "The VMM's API does not answer",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"vmm-stopped", "vmm-paused", "vmm-blocked", "vmm-starved", "guest-no-init", "guest-panic"}, tapFaults...),
	Run: func(f path.Facts) Result {
		api := f.Sandbox.API
		if api == nil || api.SilentSince.IsZero() || f.Sandbox.VMMAlive == path.No {
			return notApplicable()
		}
		silent := f.Now.Sub(api.SilentSince)
		waits := f.Traffic != nil && unansweredFor(f) > Patience
		finding := path.Finding{
			Cause:    fmt.Sprintf("the VMM (pid %d) has not answered its API for %s: it hangs, and its guest with it", f.Sandbox.VMMPID, inWords(silent)),
			Evidence: []string{fmt.Sprintf("Tapwatch asked GET / at %s, the last time %s: %s", api.Socket, ago(f.Now, api.Time), api.Error)},
			Fix:      fmt.Sprintf("see what its threads wait for (ps -L -o stat,wchan:30,comm -p %d): state D is a disk that hangs; a snapshot that is being written looks so too", f.Sandbox.VMMPID),
		}
		if f.Traffic != nil {
			finding.Evidence = append(finding.Evidence, unansweredEvidence(f)...)
		}
		switch {
		case waits && !api.Gone && silent > apiPatience:
			finding.Fix += "; where neither ends, " + anew(f)
			return wrong(finding)
		case waits || !api.Gone && silent <= apiPatience:
			return notApplicable() // others say more
		case api.Gone && api.Time.Sub(api.SilentSince) <= Patience:
			return notApplicable() // one that has just begun has yet to make its socket: asked once is not enough
		case api.Gone:
			finding.Cause = fmt.Sprintf("the VMM (pid %d) cannot be told anything any more: its API socket is gone", f.Sandbox.VMMPID)
			finding.Fix = "see who removed " + api.Socket + " (a cleaner of /tmp?): nobody can pause or snapshot this sandbox any more; " + anew(f) + " when it suits"
		default:
			finding.Cause = fmt.Sprintf("the VMM (pid %d) has not answered its API for %s", f.Sandbox.VMMPID, inWords(silent))
		}
		finding.Severity = path.Warning
		return wrong(finding)
	},
}
