package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// freezer makes a control group of version 2 with a process in it.
func freezer(t *testing.T, cmd *exec.Cmd) (freeze func(string)) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		at, fs, _ := strings.Cut(line, " - ")
		if !strings.HasPrefix(fs, "cgroup2 ") {
			continue
		}
		dir := filepath.Join(strings.Fields(at)[4], nettest.RandomName("twt"))
		if err := os.Mkdir(dir, 0o755); err != nil {
			nettest.Unfit(t, "no control group can be made here: "+err.Error())
		}
		write := func(file, text string) {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Error(err)
			}
		}
		t.Cleanup(func() {
			write("cgroup.freeze", "0")
			_ = cmd.Process.Kill() // it may have ended
			for end := time.Now().Add(patience); syscall.Rmdir(dir) != nil && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
		})
		write("cgroup.procs", strconv.Itoa(cmd.Process.Pid))
		return func(is string) { write("cgroup.freeze", is) }
	}
	nettest.Unfit(t, "this host has no unified hierarchy of control groups")
	return nil
}

// Pausing is routine: what its record or its control group says is paused is neither ok
// nor broken, and goes on.
func TestPausedIsNoFault(t *testing.T) {
	t.Parallel()
	h := start(t)
	cmd := h.vmm()
	freeze := freezer(t, cmd)
	h.slot.Sandbox.State = registry.Running
	h.put()
	rests := func(by path.PausedBy) func(path.Slot) bool {
		return func(s path.Slot) bool {
			return s.Sandbox != nil && s.PausedBy() == by && (by == "" || len(s.Diagnosis.Findings) > 0 || s.Diagnosis.State == path.Paused)
		}
	}
	h.until("running", func(s path.Slot) bool {
		return s.Sandbox != nil && !s.Sandbox.Booting && s.Sandbox.VMMAlive == path.Yes && s.Sandbox.Process != nil
	})
	freeze("1")
	s := h.until("frozen", rests(path.ByCgroup))
	if s.Sandbox.Process.Cgroup.Frozen != path.Yes || !strings.HasSuffix(s.Sandbox.Process.Cgroup.FreezerFile, "cgroup.events") {
		t.Errorf("%+v", s.Sandbox.Process)
	}
	for _, f := range s.Diagnosis.Findings {
		if f.Hop == path.Guest || f.Hop == path.Envd {
			t.Errorf("found of a frozen VM: %s: %s", f.Code, f.Cause)
		}
	}
	freeze("0")
	h.until("thawed", rests(""))
	h.slot.Sandbox.State = registry.Paused
	h.put()
	h.until("paused by its record", rests(path.ByRecord))
}
