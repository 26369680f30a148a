package diagnose

import "tapwatch/agent/path"

var tapWrongKind = Check{
	Code:      "tap-wrong-kind",
	Title:     "What goes by the tap's name is no tap",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"tap-missing"},
	Run: func(f path.Facts) Result {
		d := f.Device
		if d.Exists != path.Yes || d.Kind == "" || d.Kind == "tun" || d.Kind == "macvtap" {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    d.Name + " in " + f.Netns + " is " + article(d.Kind) + ", not a tap: no VMM can attach to it",
			Evidence: []string{"the kernel calls its kind " + d.Kind + " (ip -d link show " + d.Name + "); a tap's is tun"},
			Fix:      "remove it and make the tap: ip netns exec " + f.Netns + " ip tuntap add " + d.Name + " mode tap; or make the slot anew",
		})
	},
}

// article puts the kernel's word for a kind of device into a sentence.
func article(kind string) string {
	switch kind[0] {
	case 'a', 'e', 'i', 'o':
		return "an " + kind
	}
	return "a " + kind
}
