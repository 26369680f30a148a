package nettest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// WithFiles starts a process in a network namespace of its own that has files open
// from descriptor 3 on, and ends with the test.
func WithFiles(t testing.TB, files ...*os.File) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.ExtraFiles = files
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return cmd
}
