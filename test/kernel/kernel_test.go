// Package kernel runs the agent's tests on the oldest kernel that most users
// have, Debian's 6.1, in a virtual machine: what programs may do there, which
// features there are and what netlink says differs from this machine's kernel.
package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	// What the guest runs, so that go test does not take the result of older
	// code for this one's.
	_ "tapwatch/agent"

	"tapwatch/internal/sandbox/template/templatetest"
)

// guests are the packages that ask the kernel, by the guest that tests them: two
// guests, for the emulator's threads seldom run at the same time. The last part of a
// name is unique, it is the name of the test's binary.
var guests = map[string][]string{
	"agent": {"agent"},
	"parts": {"agent/discover", "agent/exits", "agent/flow", "agent/holders", "agent/link", "agent/probe", "agent/sockets", "internal/netns"},
}

func TestLinux61(t *testing.T) {
	for name, packages := range guests {
		// Under emulation each run fails in another test of package agent, which was
		// written for a faster machine: see "Open ends" in CONTRIBUTING.md.
		if name == "agent" && os.Getenv("TAPWATCH_TEST_KERNEL_AGENT") == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testIn(t, packages)
		})
	}
}

func testIn(t *testing.T, packages []string) {
	t.Helper()
	lookAtSources(t, packages)
	r := run(t, packages)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the guest's console ends with:\n%s", r.tail)
		}
	})
	if !strings.HasPrefix(r.release, "6.1.") {
		t.Fatalf("the guest's kernel is %q, not 6.1", r.release)
	}
	for _, pkg := range packages {
		t.Run(pkg, func(t *testing.T) {
			res := r.of(filepath.Base(pkg))
			switch {
			case !res.ended:
				t.Errorf("did not end:\n%s", res.failures())
			case res.status != 0:
				t.Errorf("exit status %d:\n%s", res.status, res.failures())
			default:
				t.Logf("%d tests passed in %s s on %s", strings.Count(res.output, "\n--- PASS: "), res.seconds, r.release)
			}
		})
	}
	if !r.ended {
		t.Error("the guest did not come to its end")
	}
	if r.taint&taintOfBugs != 0 {
		t.Errorf("the kernel complained of a bug (taint %#x)", r.taint)
	}
}

// lookAtSources makes the sources of the guest's tests part of this one, which no
// import does: go test takes no old result where a file that it read has changed.
func lookAtSources(t *testing.T, packages []string) {
	t.Helper()
	for _, pkg := range packages {
		files, err := filepath.Glob(filepath.Join(templatetest.Root(t), pkg, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no tests: %v", pkg, err)
		}
		for _, f := range files {
			read(t, f)
		}
	}
}
