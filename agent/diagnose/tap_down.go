package diagnose

import "tapwatch/agent/path"

var tapDown = Check{
	Code:      "tap-down",
	Title:     "The tap is administratively down",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"tap-missing", "tap-wrong-kind", "vmm-misplaced"},
	Run: func(f path.Facts) Result {
		switch f.Device.AdminUp {
		case path.Yes:
			return notApplicable()
		case path.No:
			return wrong(path.Finding{
				Cause:    f.Device.Name + " in " + where(f) + " is down: the kernel refuses every packet to it at once (ENETUNREACH)",
				Evidence: []string{"the flags of " + f.Device.Name + " (" + ip(f) + " link show " + f.Device.Name + ") lack UP"},
				Fix:      ip(f) + " link set " + f.Device.Name + " up",
			})
		}
		return unsure("the link's flags are unknown")
	},
}
