package diagnose

import "tapwatch/agent/path"

var cacheMetadataMissing = Check{
	Code:      "cache-metadata-missing",
	Title:     "metadata.json in the template cache is missing",
	Hop:       path.Envd,
	Severity:  path.Critical,
	DependsOn: append([]string{"envd-missing", "envd-not-runnable", "init-no-cgroup2", "guest-no-arp"}, guestNoARP.DependsOn...),
	Run:       func(f path.Facts) Result { return envdFault(f, "cache-metadata-missing", true) },
}
