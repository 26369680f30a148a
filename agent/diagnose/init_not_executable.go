package diagnose

import "tapwatch/agent/path"

var initNotExecutable = Check{
	Code:      "init-not-executable",
	Title:     "/sbin/init is not executable",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: []string{"tap-elsewhere", "tap-missing", "tap-down"},
	First:     true,
	InBoot:    true,
	Run:       func(f path.Facts) Result { return initFault(f, "init-not-executable") },
}
