package diagnose

import (
	"cmp"
	"fmt"
	"slices"

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
		b := f.Sandbox
		what, evidence := fmt.Sprintf("the VMM, pid %d, is", b.VMMPID), stoppedEvidence(b.VMMPID, "stat", "T")
		if b.VMMStopped != path.Yes {
			t, ok := stoppedThread(f)
			if !ok {
				return notApplicable()
			}
			what = fmt.Sprintf("the thread %s of the VMM, pid %d, is", t.Command, b.VMMPID)
			evidence = stoppedEvidence(b.VMMPID, fmt.Sprintf("task/%d/stat", t.TID), t.State)
		}
		finding := path.Finding{
			Cause:    what + " stopped: its guest stands still",
			Evidence: []string{evidence},
			Fix:      fmt.Sprintf("let it go on (kill -CONT %d); where a debugger is attached to it, that must let it go (TracerPid in /proc/%[1]d/status)", b.VMMPID),
		}
		if by := tracer(f); by != nil {
			who := fmt.Sprintf("%s (pid %d)", cmp.Or(by.Command, "a debugger"), by.PID)
			finding.Cause = what + " stopped by the debugger " + who + ": its guest stands still"
			finding.Evidence = append(finding.Evidence, fmt.Sprintf("TracerPid in /proc/%d/status: %d", b.VMMPID, by.PID))
			finding.Fix = "have " + who + " continue or detach; where it hangs, end it: that lets the VMM go on"
		}
		if f.Traffic != nil {
			finding.Evidence = append(finding.Evidence, "the guest's last frame of any kind: "+ago(f.Now, f.Traffic.LastReceive))
		}
		return wrong(finding)
	},
}

// stoppedThread is a thread of the VMM that is stopped while others run: debuggers do so.
func stoppedThread(f path.Facts) (path.StuckThread, bool) {
	if f.Sandbox.Process == nil || f.Sandbox.VMMAlive == path.No {
		return path.StuckThread{}, false
	}
	stuck := f.Sandbox.Process.Stuck
	i := slices.IndexFunc(stuck, func(t path.StuckThread) bool {
		return (t.State == "t" || t.State == "T") && f.Now.Sub(t.Since) > Patience // strace stops threads for an instant
	})
	if i < 0 {
		return path.StuckThread{}, false
	}
	return stuck[i], true
}

func tracer(f path.Facts) *path.Holder {
	if f.Sandbox.Process == nil {
		return nil
	}
	return f.Sandbox.Process.Tracer
}
