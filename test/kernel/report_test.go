package kernel

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What /proc/sys/kernel/tainted says of bugs, from
// Documentation/admin-guide/tainted-kernels.rst.
const taintOfBugs = 1<<5 | 1<<7 | 1<<9 | 1<<14 // bad page, died, warned, soft lockup

// report is what a guest said on its console.
type report struct {
	release string             // uname -r; empty where it did not get so far
	results map[string]*result // by the name of the test's binary
	ended   bool               // it ran all of them, and taint is known
	taint   uint64
	tail    string // the console's last lines
}

type result struct {
	output  string
	ended   bool
	status  int
	seconds string // that it took
}

// of returns the result of a package's test; the zero result where it did not start.
func (r report) of(base string) result {
	if res := r.results[base+".test"]; res != nil {
		return *res
	}
	return result{}
}

// parse reads a console. Lines that begin with mark are from the guest's init:
//
//	MARK kernel RELEASE
//	MARK start NAME
//	... what the test says ...
//	MARK end NAME STATUS SECONDS
//	... the kernel's log, where the test failed ...
//	MARK taint NUMBER
func parse(console, mark string) report {
	console = strings.ReplaceAll(console, "\r", "")
	r := report{results: map[string]*result{}, tail: lastLines(console, 40)}
	current := &result{}
	for line := range strings.Lines(console) {
		words := append(strings.Fields(line), "", "", "", "", "")
		if words[0] != mark {
			current.output += line
			continue
		}
		var err error
		switch words[1] {
		case "kernel":
			r.release = words[2]
		case "start":
			current = &result{}
			r.results[words[2]] = current
		case "end":
			current.status, err = strconv.Atoi(words[3])
			current.seconds, current.ended = words[4], err == nil
		case "taint":
			r.taint, err = strconv.ParseUint(words[2], 10, 64)
			r.ended = err == nil
		}
	}
	return r
}

// failures leaves out what tests that passed say of themselves.
func (r result) failures() string {
	lines := slices.Collect(strings.Lines(r.output))
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool {
		l = strings.TrimSpace(l)
		return strings.HasPrefix(l, "=== ") || strings.HasPrefix(l, "--- PASS")
	}), "")
}

func lastLines(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

func TestParse(t *testing.T) {
	const boot, one = "[0.1] booting\r\nM kernel 6.1.0-1\r\nM start a.test\r\nPASS\r\nM end a.test 0 7\r\n", "M start b.test\r\n=== RUN   TestB0\r\n--- PASS: TestB0\r\n--- FAIL: TestB\r\n"
	tests := []struct {
		name, console  string
		release        string
		aEnded, bEnded bool
		bStatus        int
		ended          bool
		taint          uint64
	}{
		{name: "nothing"},
		{name: "hangs while booting", console: "[0.1] booting\r\n"},
		{name: "all pass", console: boot + "M start b.test\nPASS\nM end b.test 0\nM taint 0\n", release: "6.1.0-1", aEnded: true, bEnded: true, ended: true},
		{name: "one fails", console: boot + one + "M end b.test 1\r\nM taint 512\r\n", release: "6.1.0-1", aEnded: true, bEnded: true, bStatus: 1, ended: true, taint: 512},
		{name: "panics within one", console: boot + one + "Kernel panic - not syncing\r\n", release: "6.1.0-1", aEnded: true},
		{name: "cut off in its status", console: boot + one + "M end b.test", release: "6.1.0-1", aEnded: true},
		{name: "a test says the words", console: boot + one + "kernel 5 M end b.test 0\n end b.test 0\n", release: "6.1.0-1", aEnded: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := parse(tt.console, "M")
			a, b := r.of("a"), r.of("b")
			if r.release != tt.release || r.ended != tt.ended || r.taint != tt.taint || a.ended != tt.aEnded || b.ended != tt.bEnded || b.status != tt.bStatus {
				t.Errorf("%+v, a %+v, b %+v", r, a, b)
			}
			if a.ended && a.seconds != "7" {
				t.Errorf("a took %q s", a.seconds)
			}
			if strings.Contains(b.failures(), "TestB0") {
				t.Errorf("failures of b %q", b.failures())
			}
			if strings.Contains(tt.console, "TestB") != strings.Contains(b.output, "TestB") || strings.Contains(a.output, "TestB") {
				t.Errorf("output of a %q, of b %q", a.output, b.output)
			}
		})
	}
}
