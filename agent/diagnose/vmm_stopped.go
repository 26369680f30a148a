package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmStopped = Check{
	Code:      "vmm-stopped",
	Title:     "The VMM is stopped (SIGSTOP, or a debugger)",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: tapFaults,
	InBoot:    true,
	Run: func(f path.Facts) Result {
		if f.Sandbox.VMMStopped != path.Yes {
			return notApplicable()
		}
		ev := []string{fmt.Sprintf("/proc/%d/stat says T: stopped", f.Sandbox.VMMPID)}
		if f.Traffic != nil {
			ev = append(ev, "the guest's last frame of any kind: "+ago(f.Now, f.Traffic.LastReceive))
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("the VMM, pid %d, is stopped: its guest stands still", f.Sandbox.VMMPID),
			Evidence: ev,
			Fix:      fmt.Sprintf("let it go on: kill -CONT %d; a debugger that is attached to it (TracerPid in /proc/%[1]d/status) must let it go", f.Sandbox.VMMPID),
		})
	},
}
