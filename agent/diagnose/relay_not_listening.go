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
			Cause:    "no relay listens on " + l.Addr + ": the kernel of " + where(f) + " refuses the proxy's connections",
			Evidence: listenerEvidence("in "+where(f), l),
			Fix:      relayFix(f) + "; a socat that was there was often killed by SIGPIPE, when whoever read its standard error ended",
		})
	},
}

// relayFix is how the namespace gets a relay.
func relayFix(f path.Facts) string {
	ours := "tapwatch relay --netns " + word(f.Netns) + " --listen " + f.Relay.Addr + " --to " + envdAt(f)
	if f.Sandbox.Foreign {
		return "start the relay again as " + launchedBy(f).name + " does, or put Tapwatch's in its place: " + ours
	}
	return "start a relay: " + ours
}
