package discover

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tapwatch/internal/nettest"
)

// The console of a guest is where its VMM writes, and nobody else.
func TestConsoleOf(t *testing.T) {
	nettest.NeedRoot(t)
	dir := t.TempDir()
	open := func(name string, flags int) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	out, rw, in := open("out", os.O_WRONLY), open("rw", os.O_RDWR), open("in", os.O_RDONLY)
	for name, c := range map[string]struct {
		stdout *os.File
		extra  *os.File
		parent func(child int) int
		want   string
	}{
		"its output":                        {stdout: out, want: filepath.Join(dir, "out")},
		"a log that it has open":            {extra: out, want: filepath.Join(dir, "out")},
		"a disk, which it reads and writes": {extra: rw},
		"a file that it reads":              {stdout: in},
		"shared with its parent":            {stdout: out, parent: func(child int) int { return child }},
		"nothing":                           {},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "sleep", "1000")
			if c.stdout != nil {
				cmd.Stdout = c.stdout
			}
			if c.extra != nil {
				cmd.ExtraFiles = []*os.File{c.extra}
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			parent := 1
			if c.parent != nil {
				parent = c.parent(cmd.Process.Pid)
			}
			for end := time.Now().Add(10 * time.Second); linkAt(procDir(cmd.Process.Pid)+"/exe") == linkAt("/proc/self/exe") && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if got := consoleOf(cmd.Process.Pid, parent); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
