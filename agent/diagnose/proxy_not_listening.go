package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var proxyNotListening = Check{
	Code:      "proxy-not-listening",
	Title:     "Nothing listens where clients connect (the proxy)",
	Hop:       path.Proxy,
	Severity:  path.Critical,
	DependsOn: []string{"orphaned", "proxy-wrong-address"},
	InBoot:    true,
	Run: func(f path.Facts) Result {
		l := f.Proxy
		switch {
		case l.Listening == path.Yes:
			return fine("listens")
		case l.Listening == path.Unknown:
			return unsure("the host's listening sockets could not be read")
		case !l.Expected:
			return unsure("no proxy was ever seen at " + l.Addr + ": name the one that clients use with --proxy ADDRESS:PORT")
		}
		return wrong(path.Finding{
			Cause:    "no process listens on " + l.Addr + ": clients are refused before they reach any sandbox",
			Evidence: listenerEvidence("in the host's namespace", l),
			Fix:      proxyFix(f),
		})
	},
}

// proxyFix is how clients get a proxy again: ours knows the sandboxes of our launcher alone.
func proxyFix(f path.Facts) string {
	if f.Sandbox.Foreign {
		return "start the proxy that listened on " + f.Proxy.Addr + " again: its log, or that of " + launchedBy(f).name + ", says why it ended"
	}
	return "start a proxy, which serves the sandboxes that run: tapwatch proxy --listen " + f.Proxy.Addr
}

// listenerEvidence says what was looked for and what was there instead.
func listenerEvidence(where string, l path.Listener) []string {
	ev := []string{fmt.Sprintf("no process listens on TCP %s %s", l.Addr, where)}
	if l.Actual != "" {
		ev = append(ev, "a process listens on "+l.Actual+" instead")
	}
	return ev
}
