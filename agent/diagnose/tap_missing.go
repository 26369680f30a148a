package diagnose

import (
	"strings"

	"tapwatch/agent/path"
)

var tapMissing = Check{
	Code:      "tap-missing",
	Title:     "The namespace has no tap",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"tap-elsewhere"},
	Run: func(f path.Facts) Result {
		switch f.Device.Exists {
		case path.Yes:
			return notApplicable()
		case path.No:
			if f.Device.Persistent == path.No && f.Sandbox.VMMAlive != path.Yes {
				return notApplicable() // its VMM had made it, and took it along
			}
			ev := []string{where(f) + " has no device " + f.Device.Name + " (" + ip(f) + " link)"}
			if in := f.Device.Elsewhere; len(in) > 0 { // it may be another's
				ev = append(ev, "a tap of that name, which nobody holds, is in "+strings.Join(in, ", ")+", where no slot is: was it made in the wrong namespace?")
			}
			return wrong(path.Finding{
				Cause:    "there is no " + f.Device.Name + " in " + where(f),
				Evidence: ev,
				Fix:      missingFix(f),
			})
		}
		return unsure("the namespace's links could not be read")
	},
}

// missingFix is how to get the tap back, if it can be found.
func missingFix(f path.Facts) string {
	if in := f.Device.Elsewhere; len(in) == 1 && !strings.Contains(in[0], " ") {
		return "bring that one back (" + ipIn(in[0]) + " link set " + f.Device.Name + " netns " + f.Netns + ", then give it its address and set it up), or " + slotAnew(f)
	}
	return "look for it in other namespaces (ip -all netns exec ip -br link show " + f.Device.Name + "), where it may have been made or moved to; else " + slotAnew(f)
}
