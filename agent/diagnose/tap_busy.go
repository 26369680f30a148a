package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var tapBusy = Check{
	Code:      "tap-busy",
	Title:     "Another process holds the tap, and the VMM has ended",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"tap-elsewhere", "tap-missing", "tap-down"},
	InBoot:    true,
	Run: func(f path.Facts) Result {
		d := f.Device
		if f.Sandbox.VMMAlive != path.No || f.Sandbox.VMMPID == 0 || len(d.Holders) == 0 {
			return notApplicable()
		}
		for _, h := range d.Holders {
			if h.PID == f.Sandbox.VMMPID { // read before it ended
				return notApplicable()
			}
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("EBUSY: %s is%s, so the VMM could not attach, and has ended", d.Name, heldByWords(d.Holders)),
			Evidence: []string{
				"the tap is open" + heldBy(d.Holders),
				fmt.Sprintf("the VMM, pid %d, is no longer a running process", f.Sandbox.VMMPID),
			},
			Fix: fmt.Sprintf("see what pid %d is: mostly the slot's last VMM, not wholly dead; end it, then create the sandbox anew", d.Holders[0].PID),
		})
	},
}

// heldByWords is heldBy without its comma.
func heldByWords(holders []path.Holder) string { return heldBy(holders)[1:] }
