package diagnose

import (
	"cmp"

	"tapwatch/agent/path"
)

var noDefaultRoute = Check{
	Code:      "no-default-route",
	Title:     "The namespace has no default route",
	Hop:       path.Relay,
	Fused:     path.Tap,
	Severity:  path.Warning,
	DependsOn: []string{"veth-down", "return-route"},
	Run: func(f path.Facts) Result {
		if f.Inside.NoDefault != path.Yes {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    where(f) + " has no default route: the guest gets no further than the host, and only clients on the veth pair are answered",
			Evidence: []string{"ip route get 192.0.2.1, in " + where(f) + ": network is unreachable"},
			Fix:      ip(f) + " route add default via " + cmp.Or(askedFor(f.Inside.ToClient), "HOST_ADDRESS") + " (the host's end of the veth pair); setting " + vpeer(f) + " down and up loses it",
		})
	},
}
