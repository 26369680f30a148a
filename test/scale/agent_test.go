package scale

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"tapwatch/internal/proctest"
	"tapwatch/internal/registry"
)

// watcher is `tapwatch agent` as its own process.
type watcher struct {
	t     testing.TB
	p     *proctest.Process
	url   string
	dir   registry.Dir
	began time.Time
}

// build makes the binary once a run. TAPWATCH_SCALE_BINARY is one to measure instead, to
// compare with.
func build(t testing.TB) string {
	t.Helper()
	if other := os.Getenv("TAPWATCH_SCALE_BINARY"); other != "" {
		return other
	}
	_, here, _, _ := runtime.Caller(0)
	bin := filepath.Join(t.TempDir(), "tapwatch")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin, "./cmd/tapwatch")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as the Makefile has it
	cmd.Dir = filepath.Join(filepath.Dir(here), "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

func watch(t testing.TB, bin string, dir registry.Dir, args ...string) *watcher {
	t.Helper()
	w := &watcher{t: t, began: time.Now(), dir: dir}
	w.p = proctest.Start(t, bin, append([]string{"agent", "--listen", "127.0.0.1:0", "--run-dir", string(dir)}, args...)...)
	w.url = w.p.WaitFor(t, 0, `^metrics: (\S+)/metrics`).Groups[1]
	return w
}

// get reads one path and returns its body, status and time.
func (w *watcher) get(path string, gzip bool) (body []byte, status int, took time.Duration) {
	w.t.Helper()
	return w.getInto(nil, path, gzip)
}

// getInto is get that appends to a body.
func (w *watcher) getInto(to []byte, path string, gzip bool) (body []byte, status int, took time.Duration) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	// Any value keeps the client from asking for gzip, and undoing it, itself.
	encoding := "identity"
	if gzip {
		encoding = "gzip"
	}
	req.Header.Set("Accept-Encoding", encoding)
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b := bytes.NewBuffer(to)
	if _, err := b.ReadFrom(resp.Body); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes(), resp.StatusCode, time.Since(start)
}

// until waits for a state and returns how long after the start it came.
func (w *watcher) until(what string, ok func() bool) time.Duration {
	w.t.Helper()
	for end := time.Now().Add(proctest.Patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal("never: " + what)
		}
	}
	return time.Since(w.began)
}

func (w *watcher) ready() bool {
	_, status, _ := w.get("/healthz", false)
	return status == http.StatusOK
}

// hookedAll waits until so many taps carry hooks. There may be more: the agent watches
// the namespaces of all processes, also those that other tests on this machine make.
func (w *watcher) hookedAll(taps int) time.Duration {
	w.t.Helper()
	return w.until("hooks on every tap", func() bool {
		body, _, took := w.get("/metrics", false)
		time.Sleep(5 * took) // of ten thousand slots reading is work, which would count as the agent's
		return sumOf(body, "tapwatch_probe_attached") >= float64(taps)
	})
}

// sum adds the values of all series of a metric; -1 where there is none.
func (w *watcher) sum(metric string) float64 {
	body, _, _ := w.get("/metrics", false)
	return sumOf(body, metric)
}

func sumOf(body []byte, metric string) float64 {
	total, found := 0.0, false
	s := bufio.NewScanner(strings.NewReader(string(body)))
	for s.Scan() {
		rest, ok := strings.CutPrefix(s.Text(), metric)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err == nil {
			total, found = total+v, true
		}
	}
	if !found {
		return -1
	}
	return total
}

func (w *watcher) pid() int { return w.p.Cmd.Process.Pid }

func (w *watcher) status(name string) float64 {
	w.t.Helper()
	n, err := field(fmt.Sprintf("/proc/%d/status", w.pid()), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return float64(n)
}

func (w *watcher) fds() int {
	w.t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.pid()))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(fds)
}

// cpu is what the process has used so far; the kernel counts it by 10 ms.
func (w *watcher) cpu() time.Duration {
	w.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.pid()))
	if err != nil {
		w.t.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		w.t.Fatal(err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
