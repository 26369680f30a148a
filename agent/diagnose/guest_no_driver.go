package diagnose

import (
	"slices"

	"tapwatch/agent/path"
)

var guestNoDriver = Check{
	Code:      "guest-no-driver",
	Title:     "The guest has no driver for its NIC",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: slices.Concat([]string{"guest-no-init", "guest-panic"}, initCodes, tapFaults),
	InBoot:    true,
	Run: func(f path.Facts) Result {
		line, ok := said(f, "guest-no-driver")
		if !ok || f.Traffic != nil && heard(f) {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    "the guest found no network interface: its kernel has no driver for the NIC (virtio_net)",
			Evidence: line,
			Fix:      "build the template with a kernel that has virtio_net, built in or as a module that its init loads",
		})
	},
}
