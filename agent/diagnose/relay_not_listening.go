package diagnose

import (
	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

var relayNotListening = Check{
	Code:     "relay-not-listening",
	Title:    "Nothing listens on the vpeer in the namespace (the relay)",
	Hop:      path.Relay,
	Severity: path.Critical,

	DependsOn: []string{"relay-wrong-address", "dnat-missing"},
	Run: func(f path.Facts) Result {
		l := f.Relay
		switch {
		case f.Sandbox.Shape == registry.Fused:
			return notApplicable()
		case f.Sandbox.Shape == registry.DNAT:
			return fine("none needed: the namespace's kernel passes on")
		case l.Listening == path.Yes:
			return fine("listens")
		case l.Addr == "":
			return unsure("where the proxy reaches " + where(f) + " is not known: it has no address on a veth pair to the host")
		case l.Listening == path.Unknown:
			return unsure("the namespace's listening sockets could not be read")
		case f.Sandbox.Shape == "" && l.Actual == "" && f.Inside.MissingDNAT == path.No:
			return fine("none needed: the namespace's kernel passes on (DNAT)")
		case f.Sandbox.Shape == "" && l.Actual == "":
			return unsure("no relay in the namespace: right if it uses DNAT")
		}
		if f.Assumed {
			return unsure("no relay listens on " + l.Addr + ", an address that is only assumed from the name " + f.Netns)
		}
		return wrong(path.Finding{
			Cause:    "no relay listens on " + l.Addr + ": the proxy is refused at the namespace's door",
			Evidence: listenerEvidence("in "+where(f), l),
			Fix: "start a relay: tapwatch relay --netns " + f.Netns + " --listen " + l.Addr +
				" --to " + envdAt(f) + "; a socat that was there was often killed by SIGPIPE when its stderr pipe went",
		})
	},
}
