package diagnose

import (
	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

var returnRoute = Check{
	Code:      "return-route",
	Title:     "The namespace has no route back to the proxy",
	Hop:       path.Relay,
	Severity:  path.Critical,
	DependsOn: []string{"veth-down", "host-route"},
	Run: func(f path.Facts) Result {
		r := f.Inside.ToClient
		if f.Sandbox.Shape == registry.Fused || !r.Wrong() {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    "answers to the proxy do not leave " + where(f) + " by " + r.Wants + ": " + leads(r),
			Evidence: []string{routeEvidence("in "+where(f), r)},
			Fix:      "see what leads elsewhere (" + ip(f) + " addr; " + ip(f) + " route; " + ip(f) + " rule): where " + r.Wants + " lost its address (E2B's is a /31), give it back; where another route or rule was put before it, take that out; or " + slotAnew(f),
		})
	},
}
