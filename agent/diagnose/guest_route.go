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
	DependsOn: append([]string{"tap-address"}, tapAddress.DependsOn...),
	Run: func(f path.Facts) Result {
		r := f.Inside.ToGuest
		if !r.Wrong() || pastBridge(f, r) != "" && tapAddress.Run(f).verdict == problem { // a warning of that hides nothing
			return notApplicable()
		}
		return wrong(path.Finding{
			Severity: pastBridge(f, r),
			Cause:    "what is sent to the guest does not go to " + r.Wants + ": " + leads(r),
			Evidence: []string{routeEvidence("in "+where(f), r), "addresses of " + r.Wants + ": " + cmp.Or(strings.Join(f.Inside.TapAddrs, ", "), "none")},
			Fix:      ip(f) + " route and " + ip(f) + " rule: take out what leads elsewhere, or " + ip(f) + " route add " + f.Device.GuestAddr + " dev " + r.Wants,
		})
	},
}
