package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var vmmMisplaced = Check{
	Code:      "vmm-misplaced",
	Title:     "The VMM runs in a namespace that nothing leads to",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"tap-elsewhere", "tap-missing"},
	InBoot:    true,
	Run: func(f path.Facts) Result {
		d := f.Device
		// E2B's VMMs belong into a slot, whose tap is made before them.
		if f.Sandbox.Source != "e2b" || f.Launcher != "" || d.Exists != path.Yes || d.Persistent != path.No || d.Bridge != "" || f.Inside.TapAddrs == nil || len(f.Inside.TapAddrs) > 0 {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("the VMM (pid %d) runs in %s and made %s there by itself: no slot is there, and nothing leads to that tap", f.Sandbox.VMMPID, where(f), d.Name),
			Evidence: []string{
				fmt.Sprintf("%s in %s goes when its holder closes it (it is not persistent), has no address and is on no bridge", d.Name, where(f)),
				"no record and no name says that " + where(f) + " is a slot",
			},
			Fix: "the VMM must start inside its slot's namespace (ip netns exec ns-N ...): see how it was started (" + launcherLog(f) + "), mend that, then " + anew(f),
		})
	},
}
