package monitoring

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is for anything that is only waited for; a slow machine, or one
// that builds the templates first, is no failure.
const patience = 5 * time.Minute

// process is a child whose output is kept, for a look when the test fails.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has exited

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed, and replaced, with each line
}

// start runs a program until the test ends, then asks it to stop with SIGTERM
// and waits for that.
func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	p := &process{
		name: filepath.Base(path), cmd: exec.Command(path, args...),
		ended: make(chan struct{}), more: make(chan struct{}),
	}
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go p.read(r)
	go func() {
		_ = p.cmd.Wait()
		w.Close()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.output())
		}
	})
	return p
}

func (p *process) read(r io.Reader) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, s.Text())
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Errorf("%s does not end on SIGTERM", p.name)
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// waitFor returns the first group of the pattern in what the process says.
func (p *process) waitFor(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		more := p.more
		p.mu.Unlock()
		if m := re.FindStringSubmatch(p.output()); m != nil {
			return m[1]
		}
		select {
		case <-more:
		case <-p.ended:
			t.Fatalf("%s ended (%v) before it said %s", p.name, p.cmd.ProcessState, pattern)
		case <-timeout:
			t.Fatalf("%s does not say %s", p.name, pattern)
		}
	}
}

// tool finds a program where `make deps-test` puts it.
func tool(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path, err := filepath.Abs(filepath.Join("../../.cache/bin", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%s is not installed: run make deps-test", name)
	}
	return path
}

// sample copies a file of dashboards/ to dir with some of its settings replaced,
// each of which must be in it. So what is tested is what is shipped.
func sample(t *testing.T, dir, name string, replace map[string]string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dashboardsDir, name))
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range replace {
		if !bytes.Contains(b, []byte(from)) {
			t.Fatalf("%s does not have %q", name, from)
		}
		b = bytes.ReplaceAll(b, []byte(from), []byte(to))
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// startAlertmanager returns its address.
func startAlertmanager(t *testing.T, webhook string) string {
	t.Helper()
	dir := t.TempDir()
	config := sample(t, dir, "alertmanager.yml", map[string]string{
		"http://127.0.0.1:9099/": webhook,
		"group_wait: 10s":        "group_wait: 0s",
		"group_interval: 1m":     "group_interval: 1s",
	})
	p := start(t, tool(t, "alertmanager"), "--config.file="+config, "--storage.path="+dir,
		"--web.listen-address=127.0.0.1:0", "--cluster.listen-address=")
	return p.waitFor(t, `msg="?Listening on"? address=(127\.0\.0\.1:[1-9]\d*)`)
}

// startPrometheus returns its address. It scrapes and evaluates once a second;
// the rules are the shipped ones, to the letter.
func startPrometheus(t *testing.T, agent, alertmanager string) string {
	t.Helper()
	dir := t.TempDir()
	sample(t, dir, "rules.yml", nil)
	config := sample(t, dir, "prometheus.yml", map[string]string{
		"interval: 15s":   "interval: 1s",
		"127.0.0.1:10917": agent,
		"127.0.0.1:9093":  alertmanager,
	})
	p := start(t, tool(t, "prometheus"), "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0")
	return p.waitFor(t, `msg="?Listening on"? address=(127\.0\.0\.1:[1-9]\d*)`)
}

// startDemo returns the agent's address; the sandboxes are being launched then.
func startDemo(t *testing.T) (demo *process, agent string) {
	t.Helper()
	binary, err := filepath.Abs("../../bin/tapwatch")
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		t.Fatalf("no bin/tapwatch: run make build")
	}
	run := t.TempDir()
	templates, err := filepath.Abs("../../.cache/templates") // as all tests use
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after SIGTERM nothing may be left for it to do
		out, err := exec.Command(binary, "cleanup", "--run-dir", run).CombinedOutput()
		if err != nil {
			t.Errorf("cleanup: %v\n%s", err, out)
		}
	})
	p := start(t, binary, "up", "--demo", "--run-dir", run, "--data-dir", templates,
		"--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--proxy-listen", "127.0.0.1:0")
	return p, p.waitFor(t, `metrics: http://([0-9.:]+)/metrics`)
}

// eventually calls fn until it returns nil, and fails with its last error when
// patience is over or the process, on which fn depends, has ended.
func (p *process) eventually(t *testing.T, fn func() error) {
	t.Helper()
	timeout := time.After(patience)
	for {
		err := fn()
		if err == nil {
			return
		}
		select {
		case <-p.ended:
			t.Fatalf("%s ended (%v) too early: %v", p.name, p.cmd.ProcessState, err)
		case <-timeout:
			t.Fatalf("not in %v: %v", patience, err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}
