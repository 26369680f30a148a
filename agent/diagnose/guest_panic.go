package diagnose

import "tapwatch/agent/path"

var guestPanic = Check{
	Code:      "guest-panic",
	Title:     "The guest's kernel panicked",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"guest-no-init"}, initCodes...),
	First:     true, // a guest that panics may take its VMM with it
	InBoot:    true,
	Run: func(f path.Facts) Result {
		line, ok := saidAtTheEnd(f, "guest-panic")
		if !ok {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    "the guest's kernel panicked",
			Evidence: line,
			Fix:      "read what comes before it on the console (" + logs(f) + ")",
		})
	},
}
