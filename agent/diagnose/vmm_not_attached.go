package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmNotAttached = Check{
	Code:      "vmm-not-attached",
	Title:     "NO-CARRIER: the VMM runs but never attached to the tap",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: append([]string{"vmm-no-nic", "tap-owner"}, tapOwner.DependsOn...),
	Run: func(f path.Facts) Result {
		d := f.Device
		if d.Carrier != path.No || f.Sandbox.VMMAlive != path.Yes || d.Holders == nil || len(d.Holders) > 0 {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("NO-CARRIER: the VMM runs (pid %d) but has not opened %s", f.Sandbox.VMMPID, d.Name),
			Evidence: append(carrierEvidence(f),
				runsWithout(f)),
			Fix: attachFix(f) + "; see too whether it runs in " + where(f) + " at all (ip netns identify " + vmmPID(f) + "): elsewhere it made a tap of its own. Mend that and " + anew(f) + ": no VMM takes a NIC later",
		})
	},
}

// runsWithout says that the VMM runs and does not have the slot's tap.
func runsWithout(f path.Facts) string {
	return fmt.Sprintf("the VMM, pid %d, runs and does not have this tap open", f.Sandbox.VMMPID)
}

// attachFix is how to see which NIC the VMM was given.
func attachFix(f path.Facts) string {
	if !isFirecracker(f) {
		return "see which tap the VMM was told to open (tr '\\0' ' ' < /proc/" + vmmPID(f) + "/cmdline), and what it says of it (" + logs(f) + ")"
	}
	socket := "SOCKET"
	if api := f.Sandbox.API; api != nil {
		socket = api.Socket
	}
	return "see which NIC Firecracker was given (curl --unix-socket " + socket + " http://x/vm/config): host_dev_name should be " + f.Device.Name + "; where there is none, " + launcherLog(f) + " says what came of PUT /network-interfaces"
}
