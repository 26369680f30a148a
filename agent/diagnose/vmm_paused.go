package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmPaused = Check{
	Code:      "vmm-paused",
	Title:     "The VMM's vCPUs are paused",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: append([]string{"vmm-stopped"}, tapFaults...),
	Run: func(f path.Facts) Result {
		if api := f.Sandbox.API; api == nil || api.State != path.VMMPaused {
			return notApplicable()
		}
		ev := []string{apiSays(f)}
		if f.Traffic != nil {
			ev = append(ev, "the guest's last frame of any kind: "+ago(f.Now, f.Traffic.LastReceive))
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("the VMM (pid %d) runs, but its vCPUs are paused: its guest stands still", f.Sandbox.VMMPID),
			Evidence: ev,
			Fix:      `see why it was paused: for a snapshot that goes on, or one that failed; then let it go on: curl --unix-socket ` + f.Sandbox.API.Socket + ` -X PATCH http://x/vm -d '{"state":"Resumed"}'`,
		})
	},
}
