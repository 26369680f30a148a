package diagnose

import "tapwatch/agent/path"

var envdNotRunnable = Check{
	Code:      "envd-not-runnable",
	Title:     "The guest cannot run the image's envd",
	Hop:       path.Envd,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"guest-no-arp"}, guestNoARP.DependsOn...),
	Run:       func(f path.Facts) Result { return envdFault(f, "envd-not-runnable", false) },
}
