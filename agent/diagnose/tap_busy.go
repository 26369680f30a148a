package diagnose

import (
	"fmt"
	"strings"

	"tapwatch/agent/path"
)

var tapBusy = Check{
	Code:      "tap-busy",
	Title:     "Another process holds the tap, so the VMM cannot attach",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"tap-elsewhere", "tap-missing", "tap-down"},
	InBoot:    true,
	Run: func(f path.Facts) Result {
		d := f.Device
		if f.Sandbox.VMMAlive == path.Unknown || f.Sandbox.VMMPID == 0 || len(d.Holders) == 0 || d.Carrier != path.Yes {
			return notApplicable()
		}
		for _, h := range d.Holders {
			if h.PID == f.Sandbox.VMMPID { // read before it ended
				return notApplicable()
			}
		}
		if f.Sandbox.VMMAlive == path.Yes {
			return busyNow(f)
		}
		// A VMM that held the tap left it to whom it had handed it on. One that was refused
		// it may have had a file of /dev/net/tun open too, and ended with an error.
		if e := f.Sandbox.VMMExit; e != nil && e.HeldTap == path.Yes && !failed(e) {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("%s is%s, so the VMM could not attach to it (EBUSY), and has ended", d.Name, heldByWords(d.Holders)),
			Evidence: []string{
				"the tap is open" + heldBy(d.Holders),
				fmt.Sprintf("the VMM, pid %d, is no longer a running process", f.Sandbox.VMMPID),
			},
			Fix: fmt.Sprintf("see what pid %d is (ps -fp %[1]d): mostly the slot's last VMM, not wholly dead; end it, then %s", d.Holders[0].PID, anew(f)),
		})
	},
}

// heldByWords is heldBy without its comma.
func heldByWords(holders []path.Holder) string { return heldBy(holders)[1:] }

// failed says whether a VMM ended by itself with an error.
func failed(e *path.VMMExit) bool {
	return strings.HasPrefix(e.How, "ended with status ") && e.How != "ended with status 0"
}

// busyNow is a VMM that runs while another process has its tap. For a moment that may
// be whoever makes the tap.
func busyNow(f path.Facts) Result {
	d := f.Device
	h := d.Holders[0]
	if h.SandboxID == "" && !d.Since.IsZero() && f.Now.Sub(d.Since) < Patience {
		return unsure("the tap is open" + heldBy(d.Holders) + ", as yet for a moment")
	}
	whose, fix := "", fmt.Sprintf("see what pid %d is (ps -fp %[1]d) and end it, then %s", h.PID, anew(f))
	if h.SandboxID != "" {
		whose = ", the VMM of sandbox " + h.SandboxID
		fix = fmt.Sprintf("see why two VMMs were started for one tap, and end one of the two: mostly this one, pid %d, which came later", f.Sandbox.VMMPID)
	}
	return wrong(path.Finding{
		Cause: fmt.Sprintf("%s is%s%s, so this VMM (pid %d) cannot attach to it (EBUSY)", d.Name, heldByWords(d.Holders), whose, f.Sandbox.VMMPID),
		Evidence: []string{
			"the tap is open" + heldBy(d.Holders),
			runsWithout(f),
		},
		Fix: fix,
	})
}
