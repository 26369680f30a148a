package diagnose

import (
	"fmt"
	"slices"
	"strings"
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
		if f.Sandbox.VMMAlive != path.No {
			return notApplicable()
		}
		if f.Device.Carrier == path.Yes {
			return leftBehind(f)
		}
		if f.Device.Carrier != path.No && f.Device.Exists != path.No {
			return notApplicable()
		}
		if f.Sandbox.Booting && f.Sandbox.VMMPID == 0 {
			return notApplicable() // not started yet
		}
		ev := exitEvidence(f)
		if e := f.Sandbox.VMMExit; e != nil {
			ev = append(ev, ending(e, f.Device.Since))
		} else if f.Sandbox.VMMPID != 0 {
			ev = append(ev, fmt.Sprintf("the VMM, pid %d, is no longer a running process", f.Sandbox.VMMPID))
		} else {
			ev = append(ev, "no VMM process was found in "+where(f))
		}
		return wrong(path.Finding{
			Cause:    exitCause(f),
			Evidence: ev,
			Fix:      whyEnded(f) + "; then " + anew(f),
		})
	},
}

// exitCause says what the end of the VMM did to the tap.
func exitCause(f path.Facts) string {
	if f.Device.Exists == path.No {
		return "the VMM has exited, and " + f.Device.Name + ", which it had made, went with it"
	}
	return "NO-CARRIER: the VMM has exited, so nobody holds " + f.Device.Name
}

func exitEvidence(f path.Facts) []string {
	if f.Device.Exists == path.No {
		return []string{f.Device.Name + " was not persistent: the kernel removes such a tap with its last holder"}
	}
	return carrierEvidence(f)
}

// leftBehind is a tap that another process still holds, which had it beside the VMM:
// it has its carrier, and nobody is there.
func leftBehind(f path.Facts) Result {
	e := f.Sandbox.VMMExit
	left := slices.DeleteFunc(slices.Clone(f.Device.Holders), func(h path.Holder) bool { return h.PID == f.Sandbox.VMMPID })
	if e == nil || e.HeldTap == path.No || len(left) == 0 {
		return notApplicable()
	}
	return wrong(path.Finding{
		Cause:    fmt.Sprintf("the VMM has exited; %s is still%s, which does not serve it", f.Device.Name, heldByWords(left)),
		Evidence: []string{ending(e, time.Time{}), "the tap is open" + heldBy(left) + ": a file that a process inherits stays open, so the tap keeps its carrier"},
		Fix:      fmt.Sprintf("end pid %d, or nobody can attach to the tap; then %s", left[0].PID, anew(f)),
	})
}

// whyEnded says where to look for why a VMM ended, as far as its end says.
func whyEnded(f path.Facts) string {
	words := "read the VMM's last words (" + logs(f) + ")"
	e := f.Sandbox.VMMExit
	switch {
	case e == nil:
		return words + "; where they do not say why it ended, see the kernel log for an OOM kill (dmesg -T); an agent that runs as a VMM ends says how"
	case e.How == "was killed by SIGKILL":
		return words + " and the kernel log for an OOM kill (dmesg -T)"
	case e.How == "ended with status 0":
		return "the guest shut down or rebooted, or somebody asked the VMM to end: read the end of its console (" + logs(f) + ")"
	case e.How == "was killed by SIGKILL from the kernel":
		return "read the kernel log for the OOM kill (dmesg -T), and give the sandbox or the host more memory, or run fewer sandboxes"
	case strings.HasPrefix(e.How, "was killed by ") && strings.Contains(e.How, " (pid "):
		_, by, _ := strings.Cut(e.How, " from ")
		return "see in the log of " + by + " why it ended the VMM; " + words
	}
	return words
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
