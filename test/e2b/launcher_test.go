package e2b

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	// What the launcher is made of, so that go test does not take an older
	// binary's result for this one's.
	_ "tapwatch/internal/sandbox/server"

	"tapwatch/internal/sandbox/template/templatetest"
)

// launcher is a `tapwatch serve` that runs.
type launcher struct {
	bin        string
	api, proxy string // URLs
	logFile    string
}

// startLauncher builds and starts one on free ports; at the test's end it must
// stop at SIGTERM and leave no record behind.
func startLauncher(t *testing.T) *launcher {
	t.Helper()
	dir := t.TempDir()
	l := &launcher{bin: filepath.Join(dir, "tapwatch"), logFile: filepath.Join(dir, "log")}
	store := templatetest.Store(t)
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", l.bin, "./cmd/tapwatch")
	build.Dir = templatetest.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build tapwatch: %v\n%s", err, out)
	}
	log, err := os.Create(l.logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	runDir := filepath.Join(dir, "run")
	serve := exec.Command(l.bin, "serve", "--api-listen", "127.0.0.1:0", "--proxy-listen", "127.0.0.1:0",
		"--run-dir", runDir, "--data-dir", store.Dir, "--pool", "1")
	serve.Stdout, serve.Stderr = log, log
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	t.Cleanup(func() { l.stop(t, serve.Process, ended, runDir) })
	l.awaitAddresses(t, ended)
	return l
}

func (l *launcher) stop(t *testing.T, p *os.Process, ended <-chan error, runDir string) {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("serve: %v\n%s", err, l.log())
		}
	case <-time.After(time.Minute):
		_ = p.Kill() // it is too late to hope for more
		t.Errorf("serve does not end at SIGTERM\n%s", l.log())
	}
	if left, err := filepath.Glob(filepath.Join(runDir, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

var address = regexp.MustCompile(`(?m)^(api|proxy): (http://\S+)$`)

// awaitAddresses reads from its output where the launcher listens.
func (l *launcher) awaitAddresses(t *testing.T, ended <-chan error) {
	t.Helper()
	for range 1000 {
		for _, m := range address.FindAllStringSubmatch(l.log(), -1) {
			if m[1] == "api" {
				l.api = m[2]
			} else {
				l.proxy = m[2]
			}
		}
		if l.api != "" && l.proxy != "" {
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("serve ended: %v\n%s", err, l.log())
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("serve does not say where it listens:\n%s", l.log())
}

func (l *launcher) log() string {
	b, err := os.ReadFile(l.logFile)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// run runs `tapwatch sandbox ...`, which must exit with that code, and returns its output.
func (l *launcher) run(t *testing.T, code int, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.bin, l.flags(args)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("sandbox %s: %v, want exit code %d\n%s%s\nthe launcher says:\n%s", args, err, code, &stdout, &stderr, l.log())
	}
	if lines := strings.Count(stderr.String(), "\n"); code == 1 && lines != 1 {
		t.Errorf("sandbox %s: %d lines of error, want one:\n%s", args, lines, &stderr)
	}
	return stdout.String()
}

func (l *launcher) flags(args []string) []string {
	flags := []string{"sandbox", args[0], "--api-url", l.api}
	if args[0] == "exec" {
		flags = append(flags, "--proxy-url", l.proxy)
	}
	return append(flags, args[1:]...)
}
