package diagnose

import "tapwatch/agent/path"

var initNoCgroup2 = Check{
	Code:      "init-no-cgroup2",
	Title:     "init does not mount cgroup2",
	Hop:       path.Envd,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"envd-missing", "envd-not-runnable", "guest-no-arp"}, guestNoARP.DependsOn...),
	Run:       func(f path.Facts) Result { return envdFault(f, "init-no-cgroup2", true) },
}
