package diagnose

import "tapwatch/agent/path"

var proxyWrongAddress = Check{
	Code:     "proxy-wrong-address",
	Title:    "The proxy listens on another address than clients use",
	Hop:      path.Proxy,
	Severity: path.Critical,
	InBoot:   true,
	Run: func(f path.Facts) Result {
		l := f.Proxy
		if l.Listening != path.No || l.Actual == "" || !l.Expected {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    "the proxy listens on " + l.Actual + ", but clients connect to " + l.Addr + ", and are refused",
			Evidence: listenerEvidence("in the host's namespace", l),
			Fix:      "have it listen on " + l.Addr + ", or on all addresses; where clients use another address than that, give it to the agent: tapwatch agent --proxy ADDRESS:PORT",
		})
	},
}
