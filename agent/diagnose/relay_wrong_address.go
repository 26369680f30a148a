package diagnose

import (
	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

var relayWrongAddress = Check{
	Code:     "relay-wrong-address",
	Title:    "The relay listens on another address than the vpeer's",
	Hop:      path.Relay,
	Severity: path.Critical,
	Run: func(f path.Facts) Result {
		l := f.Relay
		if l.Listening != path.No || l.Actual == "" || f.Sandbox.Shape == registry.Fused || f.Sandbox.Shape == registry.DNAT {
			return notApplicable()
		}
		if f.Assumed {
			return unsure("something listens on " + l.Actual + "; which address the proxy asks is only assumed from the name " + f.Netns)
		}
		return wrong(path.Finding{
			Cause:    "the relay listens on " + l.Actual + ", where the proxy never asks: " + l.Addr + " is refused",
			Evidence: listenerEvidence("in "+where(f), l),
			Fix:      "have it listen on the vpeer's address, " + l.Addr + "; or " + relayFix(f),
		})
	},
}
