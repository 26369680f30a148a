package diagnose

import "tapwatch/agent/path"

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
			return wrong(path.Finding{
				Cause:    "there is no " + f.Device.Name + " in " + f.Netns,
				Evidence: []string{"no device of that name among the namespace's links"},
				Fix:      "look for it elsewhere (a tap made in the wrong namespace), then make the slot anew",
			})
		}
		return unsure("the namespace's links could not be read")
	},
}
