package diagnose

import "tapwatch/agent/path"

var tapWrongKind = Check{
	Code:      "tap-wrong-kind",
	Title:     "The device with the tap's name is no tap",
	Hop:       path.Tap,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: []string{"tap-missing"},
	InBoot:    true,
	Run: func(f path.Facts) Result {
		d := f.Device
		if d.Exists != path.Yes || d.Kind == "" || d.Kind == "tun" || d.Kind == "macvtap" && !opensTun(f) {
			return notApplicable()
		}
		finding := path.Finding{
			Cause:    d.Name + " in " + where(f) + " is " + article(d.Kind) + ", not a tap: no VMM can attach to it",
			Evidence: []string{"the kernel calls its kind " + d.Kind + " (" + ip(f) + " -d link show " + d.Name + "); a tap's is tun"},
			Fix:      "remove it and make the tap (" + ip(f) + " link del " + d.Name + "; " + ip(f) + " tuntap add " + d.Name + " mode tap, its address and up), then " + anew(f),
		}
		if d.Kind == "macvtap" {
			finding.Cause = d.Name + " in " + where(f) + " is a macvtap: Firecracker opens a tap by /dev/net/tun and cannot attach to it"
			finding.Evidence = append(finding.Evidence, "no process has it open; its carrier is that of the device below it")
		}
		return wrong(finding)
	},
}

// opensTun says whether the VMM is one that opens no macvtap, and has not opened this
// one either.
func opensTun(f path.Facts) bool {
	return isFirecracker(f) && f.Device.Holders != nil && len(f.Device.Holders) == 0
}

// article puts the kernel's word for a kind of device into a sentence.
func article(kind string) string {
	switch kind[0] {
	case 'a', 'e', 'i', 'o':
		return "an " + kind
	}
	return "a " + kind
}
