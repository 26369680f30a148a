// Package proctest runs programs for tests: their output is kept and waited on,
// and they are stopped, by pid, when the test ends.
package proctest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is for what is only waited for: a slow machine is no failure.
const Patience = 3 * time.Minute

// Process is a child whose output, both streams, is kept.
type Process struct {
	Cmd   *exec.Cmd
	Ended chan struct{} // closed when it has exited and all it said was read

	mu    sync.Mutex
	lines []string
	times []time.Time
	more  chan struct{} // closed, and replaced, with each line
}

// Start runs a program until the test ends; it is then sent SIGTERM, and what it
// said is logged if the test failed.
func Start(t testing.TB, path string, args ...string) *Process {
	t.Helper()
	return StartCmd(t, exec.Command(path, args...))
}

// historyDir is where an agent keeps what happened, by its environment.
const historyDir = "TAPWATCH_HISTORY_DIR="

// StartCmd starts a command that was made ready, like Start. An agent keeps its history in
// a directory that goes with the test.
func StartCmd(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	cmd.Env = cmd.Environ()
	if !slices.ContainsFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, historyDir) }) {
		cmd.Env = append(cmd.Env, historyDir+t.TempDir())
	}
	p := &Process{Cmd: cmd, Ended: make(chan struct{}), more: make(chan struct{})}
	r, w := io.Pipe()
	p.Cmd.Stdout, p.Cmd.Stderr = w, w
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	read := make(chan struct{})
	go func() { p.read(r); close(read) }()
	go func() {
		_ = p.Cmd.Wait() // ExitCode tells
		w.Close()
		<-read
		close(p.Ended)
	}()
	t.Cleanup(func() {
		p.Stop(t)
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), p.Output())
		}
	})
	return p
}

func (p *Process) read(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		p.mu.Lock()
		p.lines, p.times = append(p.lines, s.Text()), append(p.times, time.Now())
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

// Output is what it has said so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// Said is a line that matched, with the time at which it was read.
type Said struct {
	Groups []string // of the pattern; 0 is the whole match
	Time   time.Time
	Line   int // its number, from 0
}

// WaitFor returns the first line from number on that matches the pattern.
func (p *Process) WaitFor(t testing.TB, from int, pattern string) Said {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(Patience)
	for {
		p.mu.Lock()
		more := p.more
		for ; from < len(p.lines); from++ {
			if m := re.FindStringSubmatch(p.lines[from]); m != nil {
				said := Said{m, p.times[from], from}
				p.mu.Unlock()
				return said
			}
		}
		p.mu.Unlock()
		select {
		case <-more:
		case <-p.Ended:
			t.Fatalf("%s ended (%v) before it said %s", p.Cmd.Path, p.Cmd.ProcessState, pattern)
		case <-timeout:
			t.Fatalf("%s does not say %s", p.Cmd.Path, pattern)
		}
	}
}

// Stop sends SIGTERM and waits for the end. It may be called after the end.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	_ = p.Cmd.Process.Signal(syscall.SIGTERM) // gone already is as well
	select {
	case <-p.Ended:
	case <-time.After(time.Minute):
		t.Errorf("%s does not end at SIGTERM", p.Cmd.Path)
		p.Kill()
	}
}

// Kill sends SIGKILL and waits for the end.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	<-p.Ended
}

// ExitCode waits for the end and returns the exit status, -1 after a signal.
func (p *Process) ExitCode() int {
	<-p.Ended
	return p.Cmd.ProcessState.ExitCode()
}

// Build compiles a command of this module into a temporary directory.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", bin, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return bin
}
