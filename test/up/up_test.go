// Package up runs `tapwatch up` as its user does and holds it to what the README
// promises: real sandboxes, the right pictures, events in time, and nothing left
// behind at the end, not even after a SIGKILL.
package up

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	// What the binary is made of, so that go test does not take an older binary's
	// result for this one's.
	_ "tapwatch/agent"
	_ "tapwatch/internal/demo"
	_ "tapwatch/internal/sandbox/server"

	"tapwatch/agent/httpapi"
	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/template/templatetest"
)

// host is a running `tapwatch up` on free ports, with slots of its own range.
type host struct {
	*proctest.Process
	bin, runDir    string
	metrics, agent string
}

// firstSlot keeps the tests' slots away from those of a launcher on this machine.
const firstSlot = 9000

func start(t testing.TB, args ...string) *host {
	t.Helper()
	nettest.NeedRoot(t)
	store := templatetest.Store(t)
	h := &host{bin: proctest.Build(t, "tapwatch/cmd/tapwatch"), runDir: filepath.Join(t.TempDir(), "run")}
	args = append([]string{"up", "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--proxy-listen", "127.0.0.1:0",
		"--run-dir", h.runDir, "--data-dir", store.Dir, "--first-slot", strconv.Itoa(firstSlot)}, args...)
	// The template's envd must be the store's, or up would build another.
	if err := os.Rename(templatetest.Envd(t), filepath.Join(filepath.Dir(h.bin), "envd")); err != nil {
		t.Fatal(err)
	}
	h.Process = proctest.Start(t, h.bin, args...)
	h.metrics = h.WaitFor(t, 0, `^metrics: (http://\S+)$`).Groups[1]
	h.agent = strings.TrimSuffix(h.metrics, "/metrics")
	return h
}

// slots of ours, as the agent sees them; it sees those of other tests too.
func (h *host) slots(t testing.TB) []path.Slot {
	t.Helper()
	all, err := httpapi.Client{BaseURL: h.agent}.Paths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	records, err := os.ReadDir(filepath.Join(h.runDir, "slots"))
	if err != nil {
		t.Fatal(err)
	}
	var ours []path.Slot
	for _, s := range all {
		for _, r := range records {
			if "ns-"+strings.TrimSuffix(r.Name(), ".json") == s.Netns {
				ours = append(ours, s)
			}
		}
	}
	return ours
}

func (h *host) named(t testing.TB, name string) path.Slot {
	t.Helper()
	for _, s := range h.slots(t) {
		if s.Sandbox != nil && s.Sandbox.Name == name {
			return s
		}
	}
	t.Fatalf("no sandbox %s", name)
	return path.Slot{}
}

// page returns /metrics.
func (h *host) page(t testing.TB) string {
	t.Helper()
	resp, err := http.Get(h.metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// scrape returns the line of /metrics that begins so, or "".
func (h *host) scrape(t testing.TB, prefix string) string {
	t.Helper()
	for line := range strings.Lines(h.page(t)) {
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSuffix(line, "\n")
		}
	}
	return ""
}

// doctor runs `tapwatch doctor`, which must exit so and print what matches.
func (h *host) doctor(t *testing.T, code int, pattern string, args ...string) {
	t.Helper()
	cmd := exec.Command(h.bin, append([]string{"doctor", "--agent-url", h.agent}, args...)...)
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code || !regexp.MustCompile(pattern).Match(out) {
		t.Errorf("doctor %v: %v, want exit status %d and output like %s, got:\n%s", args, err, code, pattern, out)
	}
}

// traces of a host that must go with it.
type traces struct {
	namespaces, links []string
	pids              []int
}

func (h *host) traces(t *testing.T) traces {
	var tr traces
	for _, s := range h.slots(t) {
		tr.namespaces = append(tr.namespaces, s.Netns)
		tr.links = append(tr.links, strings.Replace(s.Netns, "ns-", "veth-", 1))
		if s.Sandbox != nil {
			tr.pids = append(tr.pids, s.Sandbox.VMMPID)
		}
	}
	return tr
}

// left is what still exists of them.
func (tr traces) left(runDir string) []string {
	var left []string
	for _, ns := range tr.namespaces {
		if _, err := os.Stat("/run/netns/" + ns); err == nil {
			left = append(left, "namespace "+ns)
		}
	}
	for _, l := range tr.links {
		if _, err := os.Stat("/sys/class/net/" + l); err == nil {
			left = append(left, "link "+l)
		}
	}
	for _, pid := range tr.pids {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
			left = append(left, "process "+strconv.Itoa(pid))
		}
	}
	if _, err := os.Stat(runDir); err == nil {
		left = append(left, runDir)
	}
	return left
}

// The quick start, as CI runs it: four sandboxes, each as it must be, then nothing.
func TestDemoOnce(t *testing.T) {
	h := start(t, "--demo", "--once")
	if code := h.ExitCode(); code != 0 {
		t.Fatalf("exit status %d, want 0", code)
	}
	out := h.Output()
	for _, want := range []string{
		`healthy  i\w{19} in ns-\d+: ok`,
		`no-carrier  i\w{19} in ns-\d+: broken`,
		`  tap    tap0 169\.254\.0\.22 +BROKEN  NO-CARRIER: the VMM runs \(pid \d+\) but has not opened tap0   <- lost here`,
		`  guest  eth0 169\.254\.0\.21 +BROKEN  the guest found no network interface: .* <- lost here`,
		`  envd   169\.254\.0\.21:49983 +BROKEN  the image has no envd +<- lost here`,
		`python3 -c 'print\(6\*7\)' in the guest printed 42`,
		`healthy +20 of 20 requests answered`,
		`idle slots, healthy`,
		`page: http://127\.0\.0\.1:\d+/`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no line like %s", want)
		}
	}
	if n := strings.Count(out, "<- lost here"); n != 3 {
		t.Errorf("lost %d times, want 3", n)
	}
	if _, err := os.Stat(h.runDir); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", h.runDir, err)
	}
}

// A VMM killed with -9: the event comes by itself, the next scrape says 0, and
// the cause is named. At Ctrl-C nothing of ours remains.
func TestVMMKilledThenCtrlC(t *testing.T) {
	h := start(t, "--demo")
	line := h.WaitFor(t, 0, `^up until Ctrl-C`).Line
	s := h.named(t, "healthy")
	carrier := `tapwatch_network_carrier{device="tap0",netns="` + s.Netns + `",sandbox_id="` + s.Sandbox.ID + `"} `
	if got := h.scrape(t, carrier); got != carrier+"1" {
		t.Fatalf("before the kill %q, want 1", got)
	}
	h.doctor(t, 0, `^healthy  \S+ in \S+: ok\n`, "healthy")
	h.doctor(t, 1, `docs/checks/guest-no-driver\.md`, "no-driver")
	h.doctor(t, 2, "^$", "nonesuch")
	if err := syscall.Kill(s.Sandbox.VMMPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.WaitFor(t, line, ` carrier-lost +`+s.Netns+` healthy \(`+s.Sandbox.ID+`\): NO-CARRIER on tap0`)
	if got := h.scrape(t, carrier); got != carrier+"0" {
		t.Errorf("after the kill %q, want 0", got)
	}
	first := h.WaitFor(t, line, ` problem +`+s.Netns+` healthy .*: (\S+) at tap`)
	if first.Groups[1] != "vmm-exited" {
		t.Errorf("first called %s, want vmm-exited", first.Groups[1])
	}
	kill := exec.Command(h.bin, "sandbox", "kill", "--api-url", h.WaitFor(t, 0, `^api: (\S+)`).Groups[1], s.Sandbox.ID)
	if out, err := kill.CombinedOutput(); err != nil {
		t.Fatalf("sandbox kill: %v\n%s", err, out)
	}
	h.WaitFor(t, line, ` slot-removed +`+s.Netns)
	h.doctor(t, 2, "^$", s.Sandbox.ID) // it is gone: nothing can be told of its path, but its history can
	h.doctor(t, 0, `gone since .*(?s:.*)the VMM ended first, [\d.]+(ms|µs) before`, "healthy", "--history")

	for _, s := range h.slots(t) {
		if s.Sandbox == nil && (s.Diagnosis.State != path.Idle || len(s.Diagnosis.Findings) > 0) {
			t.Errorf("idle slot %s is shown %s with %d findings", s.Netns, s.Diagnosis.State, len(s.Diagnosis.Findings))
		}
	}
	tr := h.traces(t)
	if err := h.Cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := h.ExitCode(); code != 0 {
		t.Errorf("exit status %d after Ctrl-C, want 0", code)
	}
	if left := tr.left(h.runDir); len(left) > 0 {
		t.Errorf("left behind after Ctrl-C: %v", left)
	}
}

// After a SIGKILL everything is still there, and cleanup removes exactly that.
func TestCleanupAfterKill(t *testing.T) {
	foreign := nettest.Netns(t)
	h := start(t, "--pool", "1")
	create := exec.Command(h.bin, "sandbox", "create", "--api-url", h.WaitFor(t, 0, `^api: (\S+)`).Groups[1])
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("create: %v\n%s", err, out)
	}
	tr := h.traces(t)
	h.Kill()
	if left := tr.left(h.runDir); len(left) < 4 {
		t.Fatalf("SIGKILL left only %v", left)
	}
	cleanup := func() string {
		out, err := exec.Command(h.bin, "cleanup", "--run-dir", h.runDir).CombinedOutput()
		if err != nil {
			t.Errorf("cleanup: %v\n%s", err, out)
		}
		return string(out)
	}
	if out := cleanup(); !strings.Contains(out, "hooks on") {
		t.Errorf("cleanup says %q, want hooks removed too", out)
	}
	for end := time.Now().Add(time.Minute); len(tr.left(h.runDir)) > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // a killed VMM takes a moment to go
	}
	if left := tr.left(h.runDir); len(left) > 0 {
		t.Errorf("left behind after cleanup: %v", left)
	}
	if _, err := os.Stat("/run/netns/" + foreign); err != nil {
		t.Errorf("the foreign namespace: %v", err)
	}
	if out := cleanup(); !strings.HasSuffix(out, "nothing to do\n") || strings.Contains(out, "removed") {
		t.Errorf("second cleanup says %q", out)
	}
}

// Whoever looks at `tapwatch up` and goes, by closing the pipe (| head) or the terminal
// (SIGHUP), ends it as Ctrl-C does: nothing stays.
func TestUpEndsWithItsReader(t *testing.T) {
	nettest.NeedRoot(t)
	store := templatetest.Store(t)
	bin := proctest.Build(t, "tapwatch/cmd/tapwatch")
	if err := os.Rename(templatetest.Envd(t), filepath.Join(filepath.Dir(bin), "envd")); err != nil {
		t.Fatal(err)
	}
	for name, leave := range map[string]func(up *os.Process, out *os.File) error{
		"pipe":   func(_ *os.Process, out *os.File) error { return out.Close() },
		"SIGHUP": func(up *os.Process, _ *os.File) error { return up.Signal(syscall.SIGHUP) },
	} {
		t.Run(name, func(t *testing.T) {
			runDir := filepath.Join(t.TempDir(), "run")
			out, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			// Where the tests themselves run under nohup, up would rightly ignore SIGHUP.
			up := exec.CommandContext(t.Context(), "env", "--default-signal=HUP", bin, "up", "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--proxy-listen", "127.0.0.1:0",
				"--run-dir", runDir, "--data-dir", store.Dir, "--first-slot", strconv.Itoa(firstSlot), "--pool", "1")
			up.Stdout, up.Stderr = in, in // as a terminal, and "2>&1 |"
			if err := up.Start(); err != nil {
				t.Fatal(err)
			}
			in.Close()
			lines := bufio.NewScanner(out)
			var api string
			for found := false; !found && lines.Scan(); {
				api, found = strings.CutPrefix(lines.Text(), "api: ")
			}
			if made, err := exec.Command(bin, "sandbox", "create", "--api-url", api).CombinedOutput(); err != nil {
				t.Errorf("create: %v\n%s", err, made)
			}
			records, err := registry.Dir(runDir).List()
			if err != nil || len(records) == 0 {
				t.Errorf("records %v, %v", records, err)
			}
			if err := leave(up.Process, out); err != nil {
				t.Fatal(err)
			}
			if err := up.Wait(); err != nil {
				t.Errorf("ended with %v", err)
			}
			if _, err := os.Stat(runDir); !os.IsNotExist(err) {
				t.Errorf("%s is left: %v", runDir, err)
			}
			for _, r := range records {
				if _, err := os.Stat("/run/netns/" + r.Netns); !os.IsNotExist(err) {
					t.Errorf("namespace %s is left: %v", r.Netns, err)
				}
				if r.Sandbox != nil && r.Sandbox.VMMProcess.Alive() {
					t.Errorf("VMM %d of %s is left", r.Sandbox.VMMProcess.PID, r.Sandbox.ID)
				}
			}
		})
	}
}
