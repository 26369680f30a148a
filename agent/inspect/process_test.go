package inspect

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
)

// A process that is stopped, with fewer files left than it has open.
func TestProcessOf(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sleep", "100")
	for range 20 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	pid := cmd.Process.Pid
	p, err := ProcessOf(pid)
	if err != nil || p.PID != pid || p.Command != "sleep" || p.Stopped != path.No || p.Files < 20 || p.NearLimit() {
		t.Errorf("got %+v, %v", p, err)
	}
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "stopped", func() bool { // from then on it opens and closes nothing
		p, err := ProcessOf(pid)
		return err == nil && p.Stopped == path.Yes
	})
	open, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd") // what it inherits besides depends on who runs the test
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(len(open))
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n + 1, Max: 4096}, nil); err != nil {
		t.Fatal(err)
	}
	if p, err := ProcessOf(pid); err != nil || p.Files != n || p.MaxFiles != n+1 || !p.NearLimit() {
		t.Errorf("got %+v, %v, want %d files", p, err, n)
	}
	if _, err := ProcessOf(1 << 22); err == nil {
		t.Error("a pid that none can have was read")
	}
}
