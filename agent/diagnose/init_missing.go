package diagnose

import "tapwatch/agent/path"

var initMissing = Check{
	Code:      "init-missing",
	Title:     "The image has no /sbin/init",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: []string{"tap-elsewhere", "tap-missing", "tap-down"},
	First:     true,
	InBoot:    true,
	Run:       func(f path.Facts) Result { return initFault(f, "init-missing") },
}
