package diagnose

import (
	"cmp"
	"fmt"

	"tapwatch/agent/path"
)

var vmmPaused = Check{
	Code:      "vmm-paused",
	Title:     "The VM is paused, and requests wait for it",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: append([]string{"vmm-stopped"}, tapFaults...),
	Run: func(f path.Facts) Result {
		by := f.PausedBy()
		if by == "" {
			return notApplicable()
		}
		ev, fix := pausedWords(f, by)
		if awaited(f) <= Patience { // pausing is routine
			return resting("paused by " + by.String() + "; no request waits for it")
		}
		ev = append(ev, unansweredEvidence(f)...)
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("the VM is paused by %s, and requests wait for it: its VMM (pid %d) runs no vCPU", by, f.Sandbox.VMMPID),
			Evidence: append(ev, "the guest's last frame of any kind: "+ago(f.Now, f.Traffic.LastReceive)),
			Fix:      "see why it was paused (" + launcherLog(f) + "): for a snapshot that still goes on, for one that failed, or since nobody used it; then " + fix,
		})
	},
}

// pausedWords says how one can tell that the VM is paused, and what lets it go on.
func pausedWords(f path.Facts, by path.PausedBy) (evidence []string, fix string) {
	switch by {
	case path.ByCgroup:
		c := f.Sandbox.Process.Cgroup
		return []string{c.FreezerFile + ": frozen"}, "let it go on: " + cmp.Or(c.FreezerThaws, "thaw the control group "+c.Path)
	case path.ByAPI:
		return []string{apiSays(f)}, "let it go on: curl --unix-socket " + f.Sandbox.API.Socket + ` -X PATCH http://x/vm -d '{"state":"Resumed"}'`
	}
	return []string{"the record that its launcher keeps of " + f.Sandbox.ID + " says that it is paused"}, "resume it by the API of " + launchedBy(f).name
}
