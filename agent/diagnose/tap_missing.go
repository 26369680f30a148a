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
			ev := []string{"no device of that name among the links of " + where(f)}
			if in := f.Device.Elsewhere; len(in) > 0 { // it may be another's
				ev = append(ev, "a tap of that name, which nobody holds, is in "+strings.Join(in, ", ")+", where no slot is: was it made in the wrong namespace?")
			}
			return wrong(path.Finding{
				Cause:    "there is no " + f.Device.Name + " in " + where(f),
				Evidence: ev,
				Fix:      "look for it elsewhere (a tap made in the wrong namespace), then make the slot anew",
			})
		}
		return unsure("the namespace's links could not be read")
	},
}
