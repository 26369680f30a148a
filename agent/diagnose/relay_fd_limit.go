package diagnose

import "tapwatch/agent/path"

var relayFDLimit = Check{
	Code:      "relay-fd-limit",
	Title:     "The relay has no file descriptor left",
	Hop:       path.Relay,
	Severity:  path.Critical,
	DependsOn: []string{"relay-wrong-address", "relay-not-listening"},
	InBoot:    true,
	Run: func(f path.Facts) Result {
		if !path.HasRelay(f.Sandbox.Shape) {
			return notApplicable()
		}
		if r, same := ofProxy(f, proxyFDLimit.Run(f)); same {
			return r
		}
		return noFiles(f.Relay, "the relay", "in "+where(f))
	},
}
