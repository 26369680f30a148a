package diagnose

import "tapwatch/agent/path"

var initShebang = Check{
	Code:      "init-shebang",
	Title:     "The first line of /sbin/init is no shebang",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: []string{"tap-elsewhere", "tap-missing", "tap-down"},
	First:     true,
	InBoot:    true,
	Run:       func(f path.Facts) Result { return initFault(f, "init-shebang") },
}
