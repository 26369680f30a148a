package diagnose

import (
	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

var ipForwardOff = Check{
	Code:      "ip-forward-off",
	Title:     "The namespace does not forward",
	Hop:       path.Relay,
	Severity:  path.Critical,
	DependsOn: []string{"veth-down"},
	Run: func(f path.Facts) Result {
		if f.Sandbox.Shape != registry.DNAT || f.Rules.Forwards != path.No {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    where(f) + " does not forward, but its path is DNAT: what is sent to the sandbox ends there",
			Evidence: []string{"net.ipv4.ip_forward is 0 in " + where(f)},
			Fix:      in(f) + "sysctl -w net.ipv4.ip_forward=1, and see who switched it off",
		})
	},
}
