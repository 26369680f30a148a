package monitoring

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tapwatch/internal/proctest"
)

// listening is what Prometheus and Alertmanager say of their address.
const listening = `msg="?Listening on"? address=(127\.0\.0\.1:[1-9]\d*)`

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
	p := proctest.Start(t, tool(t, "alertmanager"), "--config.file="+config, "--storage.path="+dir,
		"--web.listen-address=127.0.0.1:0", "--cluster.listen-address=")
	return p.WaitFor(t, 0, listening).Groups[1]
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
	p := proctest.Start(t, tool(t, "prometheus"), "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0")
	return p.WaitFor(t, 0, listening).Groups[1]
}

// startDemo returns the agent's address; the sandboxes are being launched then.
func startDemo(t *testing.T) (demo *proctest.Process, agent string) {
	t.Helper()
	binary, err := filepath.Abs("../../bin/tapwatch")
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		t.Fatalf("no bin/tapwatch: run make build")
	}
	run := t.TempDir()
	templates := sharedTemplates(t)
	t.Cleanup(func() { // after SIGTERM nothing may be left for it to do
		out, err := exec.Command(binary, "cleanup", "--run-dir", run).CombinedOutput()
		if err != nil {
			t.Errorf("cleanup: %v\n%s", err, out)
		}
	})
	p := proctest.Start(t, binary, "up", "--demo", "--run-dir", run, "--data-dir", templates,
		"--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--proxy-listen", "127.0.0.1:0")
	return p, p.WaitFor(t, 0, `metrics: http://([0-9.:]+)/metrics`).Groups[1]
}

// sharedTemplates is the data directory that all tests use, and that up and drill want
// to be there.
func sharedTemplates(t *testing.T) string {
	t.Helper()
	dir := absolute(t, "../../.cache/templates")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// eventually calls fn until it returns nil, and fails with its last error when
// the process, on which fn depends, has ended, or after a long time: templates
// may have to be built first.
func eventually(t *testing.T, p *proctest.Process, fn func() error) {
	t.Helper()
	timeout := time.After(2 * proctest.Patience)
	for {
		err := fn()
		if err == nil {
			return
		}
		select {
		case <-p.Ended:
			t.Fatalf("%s ended (%v) too early: %v", p.Cmd.Path, p.Cmd.ProcessState, err)
		case <-timeout:
			t.Fatalf("not in %v: %v", 2*proctest.Patience, err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}
