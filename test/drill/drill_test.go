// Package drill runs `tapwatch drill` as its user does: each fault is made for
// real, the right cause must be named, and nothing may be left behind.
package drill

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	// What the binary is made of, so that go test does not take an older binary's
	// result for this one's.
	_ "tapwatch/agent"
	_ "tapwatch/internal/sandbox/server"

	"tapwatch/internal/drill"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
	"tapwatch/internal/sandbox/template/templatetest"
)

// firstSlot keeps these slots away from those of other tests.
const firstSlot = 9300

// tapwatch runs the command until it ends, and returns its output and status.
func tapwatch(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	bin := proctest.Build(t, "tapwatch/cmd/tapwatch")
	// The template's envd must be the store's, or drill would build another.
	if err := os.Rename(templatetest.Envd(t), filepath.Join(filepath.Dir(bin), "envd")); err != nil {
		t.Fatal(err)
	}
	var out, says bytes.Buffer
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Stdout, cmd.Stderr = &out, &says
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), says.String(), cmd.ProcessState.ExitCode()
}

// TestFewFaults takes one fault of each kind: launched broken, broken and spent,
// broken and healed. make drill takes all.
func TestFewFaults(t *testing.T) {
	nettest.NeedRoot(t)
	store := templatetest.Store(t)
	runDir := filepath.Join(t.TempDir(), "run")
	faults := []string{"relay-dead", "tap-down", "proxy-dead", "cache-metadata-missing", "envd-not-listening", "vmm-killed", "guest-wrong-address", "init-shebang",
		"vmm-killed-tap-held", "fc-misplaced", "fc-own-tap", "fc-own-tap-killed", "fc-second", "tap-is-veth"}
	out, says, status := tapwatch(t, append([]string{"drill", "-o", "json", "--run-dir", runDir, "--data-dir", store.Dir,
		"--first-slot", strconv.Itoa(firstSlot), "--patience", "2m"}, faults...)...)
	var results []drill.Result
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		t.Fatalf("status %d, %v in:\n%s\n%s", status, err, out, says)
	}
	if len(results) != len(faults) {
		t.Fatalf("%d results of %d drills:\n%s", len(results), len(faults), out)
	}
	for i, r := range results {
		if r.Fault != faults[i] || !r.Right || r.Named != r.Expected || r.Seconds <= 0 || r.Error != "" {
			t.Errorf("drill %s: %+v", faults[i], r)
		}
	}
	if status != 0 && !t.Failed() {
		t.Errorf("all causes were named, and the status is %d:\n%s", status, says)
	}
	nothingLeft(t, runDir)
}

func nothingLeft(t *testing.T, runDir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(runDir, "slots", "*.json"))
	if err != nil || len(left) > 0 {
		t.Errorf("slots left: %v %v", left, err)
	}
}

// TestRandomFaults takes ten faults that no check was written for, on paths of all shapes:
// the verdict must be what requests and captured packets show. make drill-random takes a
// hundred others each time.
func TestRandomFaults(t *testing.T) {
	nettest.NeedRoot(t)
	store := templatetest.Store(t)
	runDir := filepath.Join(t.TempDir(), "run")
	const count = 10
	out, says, status := tapwatch(t, "drill", "random", "--seed", "28", "--count", strconv.Itoa(count), "-o", "json", "--run-dir", runDir,
		"--data-dir", store.Dir, "--first-slot", strconv.Itoa(firstSlot+100), "--patience", "2m")
	var results []drill.Result
	if err := json.Unmarshal([]byte(out), &results); err != nil || len(results) != count {
		t.Fatalf("status %d, %d results, %v in:\n%s\n%s", status, len(results), err, out, says)
	}
	for _, r := range results {
		if !r.Right || r.Error != "" {
			t.Errorf("drill %s: %+v", r.Fault, r)
		}
	}
	if explained, broken := drill.Explained(results); 10*explained < 7*broken || broken == 0 {
		t.Errorf("%d of %d broken paths are explained", explained, broken)
	}
	if status != 0 && !t.Failed() {
		t.Errorf("all verdicts were right, and the status is %d:\n%s", status, says)
	}
	nothingLeft(t, runDir)
}

func TestUnknownFault(t *testing.T) {
	_, says, status := tapwatch(t, "drill", "gremlins")
	if status != 64 || !strings.Contains(says, `no fault "gremlins"`) || strings.Count(says, "\n") != 1 {
		t.Errorf("status %d: %q", status, says)
	}
}

func TestListNamesEveryFault(t *testing.T) {
	out, _, status := tapwatch(t, "drill")
	for _, f := range drill.Faults() {
		if !strings.Contains(out, f.Name+" ") {
			t.Errorf("%s is not listed", f.Name)
		}
	}
	if status != 0 {
		t.Errorf("status %d", status)
	}
}
