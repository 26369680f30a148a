package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmNotStarted = Check{
	Code:      "vmm-not-started",
	Title:     "The VMM runs, but its guest was never started",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: append([]string{"vmm-stopped"}, tapFaults...),
	Run: func(f path.Facts) Result {
		if api := f.Sandbox.API; api == nil || api.State != path.VMMNotStarted {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("the VMM (pid %d) was never told to start its guest", f.Sandbox.VMMPID),
			Evidence: []string{apiSays(f)},
			Fix:      "see how far its launcher came (" + launcherLog(f) + "): PUT /actions InstanceStart, or PUT /snapshot/load, was never sent or failed, or a call before it was refused; then " + anew(f),
		})
	},
}
