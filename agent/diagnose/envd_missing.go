package diagnose

import "tapwatch/agent/path"

var envdMissing = Check{
	Code:      "envd-missing",
	Title:     "The image has no envd",
	Hop:       path.Envd,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"guest-no-arp"}, guestNoARP.DependsOn...),
	Run:       func(f path.Facts) Result { return envdFault(f, "envd-missing", false) },
}
