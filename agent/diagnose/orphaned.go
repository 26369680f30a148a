package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var orphaned = Check{
	Code:     "orphaned",
	Title:    "The launcher of the sandbox has ended",
	Hop:      path.Proxy,
	Severity: path.Critical,
	InBoot:   true,
	Run: func(f path.Facts) Result {
		o := f.Sandbox.Orphan
		if o == nil {
			return notApplicable()
		}
		since := "that was so when the agent came"
		if !o.Since.IsZero() {
			since = "since " + o.Since.Format("15:04:05") + " (" + ago(f.Now, o.Since) + ")"
		}
		finding := path.Finding{
			Severity: path.Warning,
			Cause:    fmt.Sprintf("the launcher of this sandbox (tapwatch, pid %d) has ended: nobody ends the sandbox in time or removes it", o.LauncherPID),
			Evidence: []string{fmt.Sprintf("pid %d, which wrote the record of the slot, is no longer a running process: %s", o.LauncherPID, since)},
			Fix:      "remove what it left, the VMMs, namespaces and records: tapwatch cleanup",
		}
		if l := f.Proxy; l.Listening == path.No && l.Actual == "" { // the proxy has gone with it
			finding.Severity = ""
			finding.Cause = fmt.Sprintf("the launcher of this sandbox (tapwatch, pid %d) has ended, and its proxy with it: clients are refused, and nobody ends the sandbox in time or removes it", o.LauncherPID)
			finding.Evidence = append(finding.Evidence, listenerEvidence("in the host's namespace", l)...)
			finding.Fix += "; to reach the sandbox until then: tapwatch proxy --listen " + l.Addr
		}
		return wrong(finding)
	},
}
