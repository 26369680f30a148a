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
			Cause: fmt.Sprintf("the VMM (pid %d) does not answer its API: it hangs, and its guest with it", f.Sandbox.VMMPID),
			Evidence: []string{fmt.Sprintf("GET / at %s, %s: %s", api.Socket, ago(f.Now, api.Time), api.Error),
				"no answer for " + inWords(silent)},
			Fix: fmt.Sprintf("see what it waits for: cat /proc/%d/wchan, ps -L -o stat,wchan,comm -p %[1]d (D: a disk that hangs); a snapshot that is being written looks so too", f.Sandbox.VMMPID),
		}
		if f.Traffic != nil {
			finding.Evidence = append(finding.Evidence, unansweredEvidence(f)...)
		}
		switch {
		case waits && !api.Gone && silent > apiPatience:
			return wrong(finding)
		case waits || !api.Gone && silent <= apiPatience:
			return notApplicable() // others say more
		case api.Gone && api.Time.Sub(api.SilentSince) <= Patience:
			return notApplicable() // one that has just begun has yet to make its socket: asked once is not enough
		case api.Gone:
			finding.Cause = fmt.Sprintf("the VMM (pid %d) cannot be told anything any more: its API socket is gone", f.Sandbox.VMMPID)
			finding.Fix = "see who removed " + api.Socket + " (a cleaner of /tmp): the sandbox can be neither paused nor snapshotted, only killed"
		default:
			finding.Cause = fmt.Sprintf("the VMM (pid %d) does not answer its API", f.Sandbox.VMMPID)
		}
		finding.Severity = path.Warning
		return wrong(finding)
	},
}
