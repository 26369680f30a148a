package diagnose

import "tapwatch/agent/path"

var guestNoInit = Check{
	Code:      "guest-no-init",
	Title:     "The guest's kernel found no init that it could run",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: initCodes,
	First:     true, // it panics, and may take its VMM with it
	InBoot:    true,
	Run: func(f path.Facts) Result {
		line, ok := saidAtTheEnd(f, "guest-no-init")
		if !ok {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    "the guest's kernel booted, but found no init that it could run",
			Evidence: line,
			Fix:      "check the image (" + templateCheck(f) + "): /sbin/init is missing, is not executable, does not begin with #!/bin/sh, or its interpreter is missing; or init= in the kernel's arguments names another program",
		})
	},
}
