package diagnose

import (
	"strings"

	"tapwatch/agent/path"
)

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
			Fix:      panicFix(f, line[0]) + "; then " + anew(f),
		})
	},
}

// panicFix is what to do about a panic, as far as its line tells.
func panicFix(f path.Facts, line string) string {
	has := func(words string) bool { return strings.Contains(strings.ToLower(line), words) }
	before := "read what comes before that line on the console (" + logs(f) + ")"
	switch {
	case has("out of memory"), has("oom"):
		return "give the sandbox more memory, or have its programs use less: what used it stands before that line on the console (" + logs(f) + ")"
	case has("unable to mount root"):
		return "see that the VM is given its root disk, and that its kernel has the driver and the file system: " + before
	case has("attempted to kill init"):
		return "mend the image's init, which ended or crashed: " + before
	}
	return before + " for what the kernel was doing"
}
