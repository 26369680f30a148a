package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/envd"
	"tapwatch/internal/sandbox/network"
	"tapwatch/internal/sandbox/proxy"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/template/templatetest"
	"tapwatch/internal/sandbox/vmm"
)

// highSlot returns an index far from those of any launcher on the machine.
func highSlot(t testing.TB) int {
	t.Helper()
	nettest.NeedRoot(t)
	for {
		first := 20000 + rand.IntN(12000)
		free := true
		for i := range 8 {
			free = free && !network.Exists(network.Slot{Index: first + i})
		}
		if free {
			return first
		}
	}
}

func newManager(t *testing.T, cfg Config) *Manager {
	t.Helper()
	cfg.RunDir = t.TempDir()
	cfg.FirstSlot = highSlot(t)
	cfg.DataDir = dataDir(t)
	cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		wantNothingLeft(t, m)
	})
	return m
}

var templates struct {
	sync.Mutex
	dir string
}

// dataDir holds every template. Making sure of that takes a second, so it is
// done once for all tests.
func dataDir(t testing.TB) string {
	t.Helper()
	templates.Lock()
	defer templates.Unlock()
	if templates.dir == "" {
		templates.dir = templatetest.Store(t).Dir
	}
	return templates.dir
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// wantNothingLeft looks for all that a manager makes.
func wantNothingLeft(t *testing.T, m *Manager) {
	t.Helper()
	for i := range 8 {
		if s := (network.Slot{Index: m.cfg.FirstSlot + i}); network.Exists(s) {
			t.Errorf("slot %d is left", s.Index)
		}
	}
	err := filepath.WalkDir(m.cfg.RunDir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("file %s is left", path)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // Close takes the directory too, where it is empty
		t.Error(err)
	}
}

func wantNoVMM(t *testing.T, id string) {
	t.Helper()
	if left, err := vmmsOf(id); err != nil || len(left) != 0 {
		t.Errorf("VMMs of %s: %v, %v", id, left, err)
	}
}

func create(t *testing.T, m *Manager, req CreateRequest) Sandbox {
	t.Helper()
	s, err := m.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// exec runs a command as a user does: through proxy, relay, tap and guest.
func exec(t *testing.T, url string, s Sandbox, cmd string, args ...string) string {
	t.Helper()
	c := envd.Client{BaseURL: url, Header: http.Header{"E2b-Sandbox-Id": {s.ID}}}
	if s.AccessToken != "" {
		c.Header.Set(e2b.HeaderAccessToken, s.AccessToken)
	}
	var out, errOut bytes.Buffer
	code, err := c.Exec(t.Context(), envd.ExecRequest{Cmd: cmd, Args: args}, &out, &errOut)
	if code != 0 || err != nil {
		t.Errorf("%s: exit code %d, %v, %s", cmd, code, err, &errOut)
	}
	return out.String()
}

func serveProxy(t *testing.T, m *Manager) string {
	t.Helper()
	p, err := m.Proxy(proxy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + l.Addr().String()
}

// The main job: a real VM, used through the whole path, then gone without a trace.
func TestLifeOfASandbox(t *testing.T) {
	m := newManager(t, Config{PoolSize: 1})
	url := serveProxy(t, m)
	s := create(t, m, CreateRequest{
		Template: "base", Name: "healthy", Secure: true,
		Metadata: map[string]string{"a": "b"}, EnvVars: map[string]string{"GREETING": "hello"},
	})
	t.Log("healthy after", time.Since(s.CreatedAt))
	if !regexp.MustCompile(`^i[a-z0-9]{19}$`).MatchString(s.ID) {
		t.Errorf("id %q", s.ID)
	}
	if s.State != registry.Running || s.Alias != "base" || s.AccessToken == "" || s.Metadata["a"] != "b" || s.EnvdVersion == "" {
		t.Errorf("created %+v", s)
	}
	if got := exec(t, url, s, "python3", "-c", "import os; print(6*7, os.environ['GREETING'])"); got != "42 hello\n" {
		t.Errorf("printed %q", got)
	}
	wantRecord(t, m, s)
	t.Run("other ports", func(t *testing.T) { wantOtherPorts(t, m, url, s) })
	t.Run("connections", func(t *testing.T) { wantBothLayers(t, m, url, s) })
	t.Run("confined", func(t *testing.T) { wantConfined(t, url, s) })
	t.Run("paused", func(t *testing.T) { wantPauseWaitedFor(t, m, url, s) })
	if err := m.Kill(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	wantNoVMM(t, s.ID)
	if s.VMM.Alive() {
		t.Error("the VMM lives")
	}
	if network.Exists(s.Slot) {
		t.Error("the slot exists")
	}
	if _, err := os.Stat(s.Console); !os.IsNotExist(err) {
		t.Error("console log:", err)
	}
	if _, err := m.Get(s.ID); !errors.Is(err, ErrNotFound) {
		t.Error("get:", err)
	}
	if err := m.Kill(t.Context(), s.ID); !errors.Is(err, ErrNotFound) {
		t.Error("kill again:", err)
	}
	if _, err := m.Resolve(t.Context(), s.ID, 49983); !errors.Is(err, proxy.ErrUnknownSandbox) {
		t.Error("resolve:", err)
	}
}

func wantRecord(t *testing.T, m *Manager, s Sandbox) {
	t.Helper()
	records, err := registry.Dir(m.cfg.RunDir).List()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r.Sandbox == nil {
			continue // idle in the pool
		}
		if r.Index != s.Slot.Index || r.Sandbox.ID != s.ID || r.Sandbox.State != registry.Running ||
			!r.Sandbox.VMMProcess.Alive() || r.Sandbox.Shape != registry.Relay || r.Sandbox.Name != s.Name {
			t.Errorf("recorded %+v, %+v", r, r.Sandbox)
		}
		return
	}
	t.Error("not recorded")
}

// Any port of the guest is reached; one that nobody listens on is a 502.
func wantOtherPorts(t *testing.T, m *Manager, url string, s Sandbox) {
	t.Helper()
	exec(t, url, s, "bash", "-c", "mkdir /tmp/www; echo from the guest > /tmp/www/f; cd /tmp/www; nohup python3 -m http.server 8000 >/dev/null 2>&1 &")
	if code, body := ask(t, url, s, "9"); code != http.StatusBadGateway || !strings.Contains(body, "connection refused") || !strings.Contains(body, `"port":9`) {
		t.Errorf("port 9: %d %s", code, body)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		code, body := ask(t, url, s, "8000")
		if code == http.StatusOK && body == "from the guest\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("port 8000: %d %s", code, body)
		}
	}
	for port := 20000; port < 20000+2*maxPorts; port++ { // unused ones make room
		if _, err := m.Resolve(t.Context(), s.ID, port); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.Relays()); n != maxPorts {
		t.Errorf("%d routes, want %d", n, maxPorts)
	}
}

// ask gets /f of a port of the sandbox.
func ask(t *testing.T, url string, s Sandbox, port string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/f", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = port + "-" + s.ID + ".sandbox.test"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestVMMExitIsAFailureThatKeepsItsSlot(t *testing.T) {
	m := newManager(t, Config{})
	s := create(t, m, CreateRequest{Template: "base"})
	if killed, err := kill(s.VMM); !killed || err != nil {
		t.Fatal(killed, err)
	}
	eventually(t, "the sandbox is failed", func() bool {
		now, err := m.Get(s.ID)
		return err == nil && now.State == registry.Failed && strings.Contains(now.Reason, "signal: killed")
	})
	records, err := registry.Dir(m.cfg.RunDir).List()
	if err != nil || len(records) != 1 || records[0].Sandbox.State != registry.Failed || records[0].Sandbox.Reason == "" {
		t.Errorf("recorded %+v, %v", records, err)
	}
	if !network.Exists(s.Slot) {
		t.Error("the slot is gone")
	}
	if err := m.SetTimeout(s.ID, 0); err != nil { // it ends by its timeout like any other
		t.Fatal(err)
	}
	eventually(t, "the slot is gone", func() bool { return !network.Exists(s.Slot) })
}

// A guest that never answers leaves nothing, and the error says how far it came.
func TestBootFailure(t *testing.T) {
	for _, c := range []struct {
		name string
		req  CreateRequest
		want []string
	}{
		{"no NIC", CreateRequest{Template: "base", NoNIC: true}, []string{"no route to host", "no network interface eth0"}},
		{"no driver", CreateRequest{Template: "no-driver"}, []string{"no route to host"}},
		{"no envd", CreateRequest{Template: "no-envd"}, []string{"connection refused", "envd not found"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newManager(t, Config{BootTimeout: 15 * time.Second})
			_, err := m.Create(t.Context(), c.req)
			if !errors.Is(err, errNoEnvd) {
				t.Fatal(err)
			}
			for _, want := range append(c.want, "within 15s") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v: want %q in it", err, want)
				}
			}
			if left := m.List(); len(left) != 0 {
				t.Errorf("listed: %+v", left)
			}
			wantNothingLeft(t, m)
		})
	}
}

func TestVMMExitWhileBooting(t *testing.T) {
	t.Run("killed", func(t *testing.T) {
		m := newManager(t, Config{})
		go func() {
			eventually(t, "it boots", func() bool { l := m.List(); return len(l) == 1 && l[0].VMM.PID != 0 })
			for _, s := range m.List() {
				if _, err := kill(s.VMM); err != nil {
					t.Error(err)
				}
			}
		}()
		_, err := m.Create(t.Context(), CreateRequest{Template: "base"})
		if !errors.Is(err, errNoEnvd) || !strings.Contains(err.Error(), "signal: killed") {
			t.Error(err)
		}
		wantNothingLeft(t, m)
	})
	t.Run("tap held by another", func(t *testing.T) {
		m := newManager(t, Config{PoolSize: 1})
		eventually(t, "a slot is idle", func() bool { return m.pool.Idle() == 1 })
		idle := network.Slot{Index: m.cfg.FirstSlot}
		nettest.AttachTap(t, idle.Netns(), idle.Tap())
		_, err := m.Create(t.Context(), CreateRequest{Template: "base"})
		if !errors.Is(err, vmm.ErrTapBusy) {
			t.Error(err)
		}
		if network.Exists(idle) {
			t.Error("the slot is left")
		}
	})
}

func TestKeptFailure(t *testing.T) {
	m := newManager(t, Config{BootTimeout: 5 * time.Second})
	s, err := m.Create(t.Context(), CreateRequest{Template: "base", NoNIC: true, Keep: true})
	if err == nil || s.State != registry.Failed || s.Reason == "" || !s.VMM.Alive() {
		t.Fatalf("%+v, %v", s, err)
	}
	url := serveProxy(t, m)
	c := envd.Client{BaseURL: url}
	if err := c.Health(t.Context()); err == nil || !strings.Contains(err.Error(), "502") || !strings.Contains(err.Error(), "no route to host") {
		t.Error("health:", err)
	}
	if err := m.Kill(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	wantNothingLeft(t, m)
}

func TestCreatesSideBySide(t *testing.T) {
	m := newManager(t, Config{PoolSize: 2})
	url := serveProxy(t, m)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			s, err := m.Create(t.Context(), CreateRequest{Template: "base"})
			if err != nil {
				t.Error(err)
				return
			}
			if got := exec(t, url, s, "echo", s.ID); got != s.ID+"\n" {
				t.Errorf("%q from %s", got, s.ID)
			}
		})
	}
	wg.Wait()
	if list := m.List(); len(list) != 3 {
		t.Errorf("%d sandboxes", len(list))
	}
	if _, err := m.Resolve(t.Context(), "", 49983); !errors.Is(err, proxy.ErrAmbiguous) {
		t.Error("no id among several:", err)
	}
}

func TestKillWhileBooting(t *testing.T) {
	m := newManager(t, Config{})
	created := make(chan error, 1)
	go func() {
		_, err := m.Create(t.Context(), CreateRequest{Template: "base", Keep: true})
		created <- err
	}()
	eventually(t, "it boots", func() bool { l := m.List(); return len(l) == 1 && l[0].VMM.PID != 0 })
	if err := m.Kill(t.Context(), m.List()[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := <-created; !errors.Is(err, ErrKilled) {
		t.Error("create:", err)
	}
	wantNothingLeft(t, m)
}

func TestCallerGivesUp(t *testing.T) {
	m := newManager(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		eventually(t, "it boots", func() bool { l := m.List(); return len(l) == 1 && l[0].VMM.PID != 0 })
		cancel()
	}()
	if _, err := m.Create(ctx, CreateRequest{Template: "base", Keep: true}); !errors.Is(err, context.Canceled) {
		t.Error("create:", err)
	}
	wantNothingLeft(t, m)
}

// What comes and goes leaves no file open and no goroutine running.
func TestManagerLeaksNothing(t *testing.T) {
	nettest.NeedRoot(t)
	dataDir(t)
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	t.Run("", func(t *testing.T) {
		m := newManager(t, Config{PoolSize: 2})
		url := serveProxy(t, m)
		for range 2 {
			s := create(t, m, CreateRequest{Template: "base"})
			exec(t, url, s, "true")
			if err := m.Kill(t.Context(), s.ID); err != nil {
				t.Fatal(err)
			}
		}
	})
	http.DefaultClient.CloseIdleConnections() // exec's
	eventually(t, "nothing is left open", func() bool {
		runtime.GC() // drops the pipes that splice keeps in a pool
		return openFiles(t) <= files && runtime.NumGoroutine() <= goroutines
	})
	t.Logf("%d files, %d goroutines", openFiles(t), runtime.NumGoroutine())
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestBadRequests(t *testing.T) {
	m := newManager(t, Config{})
	if _, err := m.Create(t.Context(), CreateRequest{Template: "none"}); !errors.Is(err, template.ErrNotFound) {
		t.Error("unknown template:", err)
	}
	if _, err := m.Create(t.Context(), CreateRequest{Template: "base", Timeout: -1}); err == nil {
		t.Error("negative timeout is taken")
	}
	for name, err := range map[string]error{
		"kill": m.Kill(t.Context(), "inone"), "timeout": m.SetTimeout("inone", time.Hour),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.Resolve(t.Context(), "", 49983); !errors.Is(err, proxy.ErrUnknownSandbox) {
		t.Error("resolve:", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Create(t.Context(), CreateRequest{Template: "base"}); err == nil {
		t.Error("a closed manager creates")
	}
}

func TestLastLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if got := lastLines(file, 3); got != "" {
		t.Errorf("no file: %q", got)
	}
	text := strings.Repeat("x", 2*consoleTail) + "\none\n\n\x1b[2Jtwo\r\n" + strings.Repeat("y", 500) + "\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := lastLines(file, 3), "one | [2Jtwo | "+strings.Repeat("y", consoleLine); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("never: " + what)
			return
		}
	}
}

// More creates at once than the host bears are booted one after the other, and those
// that find the queue full, or no room, are refused at once.
func TestCreatesWaitTheirTurn(t *testing.T) {
	m := newManager(t, Config{Boots: 1, BootQueue: 1, MaxPerOwner: 3})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var made, busy int
	for range 3 {
		wg.Go(func() {
			_, err := m.Create(t.Context(), CreateRequest{Template: "base", Owner: "one"})
			var none *BusyError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case errors.As(err, &none) && !none.Quota:
				busy++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 2 || busy != 1 {
		t.Errorf("%d made, %d refused", made, busy)
	}
	var none *BusyError
	create(t, m, CreateRequest{Template: "base", Owner: "one"})
	if _, err := m.Create(t.Context(), CreateRequest{Template: "base", Owner: "one"}); !errors.As(err, &none) || !none.Quota {
		t.Errorf("a fourth: %v", err)
	}
	if err := m.Kill(t.Context(), m.List()[0].ID); err != nil {
		t.Fatal(err)
	}
	if m.room.taken != 2 {
		t.Errorf("%d have a part of the room", m.room.taken)
	}
}
