package diagnose

import "tapwatch/agent/path"

var proxyFDLimit = Check{
	Code:      "proxy-fd-limit",
	Title:     "The proxy has no file descriptor left",
	Hop:       path.Proxy,
	Severity:  path.Critical,
	DependsOn: []string{"proxy-wrong-address", "proxy-not-listening"},
	InBoot:    true,
	Run: func(f path.Facts) Result {
		return noFiles(f.Proxy, proxyName(f), "on the host")
	},
}
