package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var orphaned = Check{
	Code:     "orphaned",
	Title:    "The launcher of the sandbox has ended",
	Hop:      path.Proxy,
	Severity: path.Warning,
	InBoot:   true,
	Run: func(f path.Facts) Result {
		o := f.Sandbox.Orphan
		if o == nil {
			return notApplicable()
		}
		since := "when the agent came"
		if !o.Since.IsZero() {
			since = "since " + o.Since.Format("15:04:05") + " (" + ago(f.Now, o.Since) + ")"
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("the launcher of this sandbox (tapwatch, pid %d) has ended: nobody serves it, ends it in time or removes it", o.LauncherPID),
			Evidence: []string{fmt.Sprintf("pid %d, which wrote the record of the slot, is no longer a running process, %s", o.LauncherPID, since)},
			Fix:      "tapwatch cleanup removes what it left: VMMs, namespaces, records",
		})
	},
}
