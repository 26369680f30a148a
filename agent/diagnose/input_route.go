package diagnose

import "tapwatch/agent/path"

var inputRoute = Check{
	Code:      "input-route",
	Title:     "A rule or a route takes packets of the path that arrive",
	Hop:       path.Relay,
	Fused:     path.Tap,
	Severity:  path.Critical,
	DependsOn: []string{"veth-down", "host-route", "return-route", "ip-forward-off"},
	Run: func(f path.Facts) Result {
		var cause string
		var ev []string
		taken := func(what, where string, r path.Route) {
			if !r.Wrong() || r.SourceRefused {
				return
			}
			if cause == "" {
				cause = what + " arrives " + where + " and is not let through: " + leads(r)
			}
			ev = append(ev, routeEvidence(where, r))
		}
		inside := "in " + where(f)
		taken("what the proxy sends", inside, f.Inside.FromClient)
		taken("what the guest answers", inside, f.Inside.FromGuest)
		taken("what the namespace answers", "on the host", f.Inside.FromNamespace)
		if cause == "" {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    cause,
			Evidence: ev,
			Fix:      "find the rule or route that takes it, and take it out: ip rule; ip route show table all, where the evidence says (" + ip(f) + " for the namespace); mostly it is one with iif, with a source, or a blackhole",
		})
	},
}
