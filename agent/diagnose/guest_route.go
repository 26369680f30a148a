package diagnose

import (
	"cmp"
	"strings"

	"tapwatch/agent/path"
)

var guestRoute = Check{
	Code:      "guest-route",
	Title:     "The namespace has no route to the guest",
	Hop:       path.Tap,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"tap-address"}, tapAddress.DependsOn...),
	Run: func(f path.Facts) Result {
		r := f.Inside.ToGuest
		if !r.Wrong() || pastBridge(f, r) != "" && tapAddress.Run(f).verdict == problem { // a warning of that hides nothing
			return notApplicable()
		}
		return wrong(path.Finding{
			Severity: pastBridge(f, r),
			Cause:    "what " + where(f) + " sends to the guest does not go to " + r.Wants + ": " + leads(r),
			Evidence: []string{routeEvidence("in "+where(f), r), "addresses of " + r.Wants + ": " + cmp.Or(strings.Join(f.Inside.TapAddrs, ", "), "none")},
			Fix:      "find the route or rule that leads elsewhere (" + ip(f) + " route; " + ip(f) + " rule) and take it out, or " + ip(f) + " route add " + f.Device.GuestAddr + " dev " + r.Wants,
		})
	},
}
