package diagnose

import "tapwatch/agent/path"

var relayNotAccepting = Check{
	Code:      "relay-not-accepting",
	Title:     "The relay does not accept connections",
	Hop:       path.Relay,
	Severity:  path.Critical,
	DependsOn: []string{"relay-wrong-address", "relay-not-listening", "relay-fd-limit"},
	InBoot:    true,
	Run: func(f path.Facts) Result {
		if !path.HasRelay(f.Sandbox.Shape) {
			return notApplicable()
		}
		if r, same := ofProxy(f, proxyNotAccepting.Run(f)); same {
			return r
		}
		return notAccepting(f, f.Relay, "the relay", "in "+where(f))
	},
}
