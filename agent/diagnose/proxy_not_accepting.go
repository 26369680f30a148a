package diagnose

import "tapwatch/agent/path"

var proxyNotAccepting = Check{
	Code:      "proxy-not-accepting",
	Title:     "The proxy does not accept connections",
	Hop:       path.Proxy,
	Severity:  path.Critical,
	DependsOn: []string{"proxy-wrong-address", "proxy-not-listening", "proxy-fd-limit"},
	InBoot:    true,
	Run: func(f path.Facts) Result {
		return notAccepting(f, f.Proxy, proxyName(f), "on the host")
	},
}
