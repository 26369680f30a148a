package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmZombie = Check{
	Code:      "vmm-zombie",
	Title:     "NO-CARRIER: the VMM has exited, and its launcher has not noticed",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: append([]string{"tap-elsewhere", "tap-missing", "tap-down", "tap-busy", "guest-no-init", "guest-panic"}, initCodes...),
	InBoot:    true,
	Run: func(f path.Facts) Result {
		since := f.Sandbox.VMMZombie
		// Every process is one for an instant: that is an end like others.
		if f.Device.Carrier != path.No || since.IsZero() || f.Now.Sub(since) < Patience {
			return notApplicable()
		}
		ev := append(carrierEvidence(f), fmt.Sprintf("pid %d has been a zombie (state Z) for %s: the process has ended, and its parent has not waited for it", f.Sandbox.VMMPID, inWords(f.Now.Sub(since))))
		if e := f.Sandbox.VMMExit; e != nil {
			ev = append(ev, ending(e, f.Device.Since))
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("NO-CARRIER: the VMM has exited and is a zombie (pid %d): whoever launched it still takes it for running", f.Sandbox.VMMPID),
			Evidence: ev,
			Fix:      fmt.Sprintf("see its parent (ps -o ppid= -p %d), which hangs or does not wait for its children: %s, then %s", f.Sandbox.VMMPID, restartIt, anew(f)),
		})
	},
}
