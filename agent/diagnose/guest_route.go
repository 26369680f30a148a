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
		if !r.Wrong() {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    "what is sent to the guest does not go to " + f.Device.Name + ": " + leads(r),
			Evidence: []string{routeEvidence("in "+f.Netns, r), "addresses of " + f.Device.Name + ": " + cmp.Or(strings.Join(f.Inside.TapAddrs, ", "), "none")},
			Fix:      "ip -n " + f.Netns + " route and ip -n " + f.Netns + " rule: take out what leads elsewhere, or ip -n " + f.Netns + " route add 169.254.0.20/30 dev " + f.Device.Name,
		})
	},
}
