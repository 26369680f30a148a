package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

var vmmExited = Check{
	Code:      "vmm-exited",
	Title:     "NO-CARRIER: the VMM has exited",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: append([]string{"vmm-zombie"}, vmmZombie.DependsOn...),
	InBoot:    true,
	Run: func(f path.Facts) Result {
		if f.Device.Carrier != path.No || f.Sandbox.VMMAlive != path.No {
			return notApplicable()
		}
		if f.Sandbox.Booting && f.Sandbox.VMMPID == 0 {
			return notApplicable() // not started yet
		}
		ev := carrierEvidence(f)
		if e := f.Sandbox.VMMExit; e != nil {
			ev = append(ev, ending(e, f.Device.Since))
		} else if f.Sandbox.VMMPID != 0 {
			ev = append(ev, fmt.Sprintf("the VMM, pid %d, is no longer a running process", f.Sandbox.VMMPID))
		} else {
			ev = append(ev, "no VMM process was found in "+f.Netns)
		}
		return wrong(path.Finding{
			Cause:    "NO-CARRIER: the VMM has exited, so nobody holds " + f.Device.Name,
			Evidence: ev,
			Fix:      lastWords(f) + " and the kernel log for an OOM kill; then kill the sandbox and create it anew",
		})
	},
}

// lastWords says where to read what a VMM said before it ended: of a foreign one
// its launcher knows.
func lastWords(f path.Facts) string {
	if f.Sandbox.Source == "tapwatch" {
		return "read its last words (tapwatch sandbox logs " + f.Sandbox.ID + ")"
	}
	return "read the VMM's log, the launcher's"
}

// ending says how the VMM ended, and whether the carrier went before or after.
func ending(e *path.VMMExit, carrierWent time.Time) string {
	text := fmt.Sprintf("the kernel saw %s end at %s: it %s", e.Command, e.Time.Format("15:04:05.000"), e.How)
	switch d := carrierWent.Sub(e.Time); {
	case carrierWent.IsZero():
		return text
	case d < 0:
		return text + fmt.Sprintf(", %v after the carrier went", -d.Round(time.Microsecond))
	case e.HeldTap == path.Yes:
		return text + fmt.Sprintf(", %v before the carrier was seen to go", d.Round(time.Microsecond))
	case e.HeldTap == path.No:
		return text + ", after it had let go of the tap"
	default:
		return text + fmt.Sprintf("; the carrier was seen to go %v later, and which went first is not known", d.Round(time.Microsecond))
	}
}
