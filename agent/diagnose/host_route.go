package diagnose

import (
	"cmp"
	"strings"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

var hostRoute = Check{
	Code:      "host-route",
	Title:     "The host has no route to the namespace, or one that leads elsewhere",
	Hop:       path.Relay,
	Severity:  path.Critical,
	DependsOn: []string{"veth-down"},
	Run: func(f path.Facts) Result {
		r := f.Inside.ToNamespace
		if f.Sandbox.Shape == registry.Fused || !r.Wrong() {
			return notApplicable()
		}
		if f.Assumed {
			return unsure("which address the namespace has is only assumed from its name, and the host has no route to that")
		}
		return wrong(path.Finding{
			Cause:    "what the proxy sends to " + where(f) + " does not go there: " + leads(r),
			Evidence: []string{routeEvidence("on the host", r)},
			Fix:      "give " + r.Wants + " its address again (E2B's is a /31 with the vpeer's)" + routeOfDNAT(f, r) + ", and see what took the route: a VPN, a container network that covers " + askedFor(r) + ", or a link that was set down and up",
		})
	},
}

// askedFor is the address that a way was asked for.
func askedFor(r path.Route) string {
	addr, _, _ := strings.Cut(r.Asked, " ")
	return addr
}

// routeOfDNAT is the route that leads to a slot whose namespace passes on what comes for
// another address than its own.
func routeOfDNAT(f path.Facts, r path.Route) string {
	if f.Sandbox.Shape != registry.DNAT {
		return ""
	}
	return " and the route back (ip route add " + askedFor(r) + " via the vpeer's address dev " + r.Wants + ")"
}

// leads says where a route leads, in the middle of a sentence.
func leads(r path.Route) string {
	switch {
	case r.LocalOn != "":
		return r.LocalOn + " there has that address itself, so it goes no further"
	case r.Device == "":
		return "there is no route (" + r.Failed + ")"
	case r.Device == "lo":
		return "it is taken for " + r.Wants + "'s namespace itself"
	case r.Wants == "lo":
		return "the route leads on, to " + r.Device
	}
	return "the route leads to " + r.Device + ", not to " + r.Wants
}

// routeEvidence is what was asked, as one would ask it by hand, and the answer.
func routeEvidence(where string, r path.Route) string {
	return "ip route get " + r.Asked + ", " + where + ": " + cmp.Or(r.Failed, "dev "+r.Device)
}
