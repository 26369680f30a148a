package nettest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"tapwatch/internal/netns"
)

// Child is a process that Start has started.
type Child struct {
	*exec.Cmd
	In   io.WriteCloser
	Out  *bufio.Reader
	Stop func() // closes its input and waits for its end
}

// Start starts a command in a network namespace, "" for the caller's own, with pipes
// for its input and its output. Its input stays open until Stop or the test's end: the
// command must end with it.
func Start(t testing.TB, ns string, cmd *exec.Cmd) *Child {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
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
	c := &Child{Cmd: cmd, In: in, Out: bufio.NewReader(out)}
	c.Stop = sync.OnceFunc(func() {
		in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(c.Stop)
	return c
}

// Hears reads the next line that the process says, and fails the test where that is
// another one than wanted.
func (c *Child) Hears(t testing.TB, want string) {
	t.Helper()
	if line, err := c.Out.ReadString('\n'); line != want+"\n" {
		t.Fatalf("%s said %q, want %q: %v", c.Args[0], line, want, err)
	}
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
