package nettest

import (
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"tapwatch/internal/netns"
)

// Start starts a command in a network namespace, "" for the caller's own. Its input
// stays open until stop or the test's end: the command must end with it.
func Start(t testing.TB, ns string, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := cmd.Start
	if ns != "" { // a child is where the thread is that starts it
		start = func() error { return netns.Do(ns, cmd.Start) }
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// WithFiles starts a process in a network namespace of its own that has files open
// from descriptor 3 on, and ends with the test.
func WithFiles(t testing.TB, files ...*os.File) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.ExtraFiles = files
	Start(t, "", cmd)
	return cmd
}
