package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/draw"
	"tapwatch/agent/events"
	"tapwatch/agent/metrics"
	"tapwatch/agent/path"
)

type fixture struct {
	*httptest.Server
	events events.Hub
	ready  error
	levels path.Levels
}

func shared(slots []path.Slot) (out []*path.Slot) {
	for i := range slots {
		out = append(out, &slots[i])
	}
	return out
}

func serve(t *testing.T, slots ...path.Slot) *fixture {
	t.Helper()
	return serveChanging(t, func() []path.Slot { return slots })
}

// serveChanging serves slots that may differ from one question to the next.
func serveChanging(t *testing.T, slots func() []path.Slot) *fixture {
	t.Helper()
	f := &fixture{}
	h, err := New(Config{
		Slots:    slots,
		Views:    func() []*path.Slot { return shared(slots()) },
		Host:     "host-1",
		Metrics:  func() metrics.Snapshot { return metrics.Snapshot{Slots: shared(slots())} },
		Events:   &f.events,
		Recorder: histories{},
		Ready:    func() error { return f.ready },
		Levels:   func() path.Levels { return f.levels },
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Server = httptest.NewServer(h)
	t.Cleanup(f.Close)
	return f
}

func (f *fixture) get(t *testing.T, at, host string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, f.URL+at, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func broken() path.Slot {
	return path.Slot{
		Facts: path.Facts{Netns: "ns-7", Sandbox: &path.Sandbox{ID: "i7", Name: "<script>alert(1)</script>"}, Device: path.Device{Name: "tap0"}, CloseLook: &path.NotLooked},
		Diagnosis: path.Diagnosis{State: path.Broken,
			Hops:     []path.HopState{{Hop: path.Tap, State: path.Broken, Detail: "NO-CARRIER"}},
			Findings: []path.Finding{{Code: "vmm-exited", Hop: path.Tap, Cause: "the VMM has exited", Evidence: []string{"no process"}, Fix: "read its last words"}}},
	}
}

func TestHostNames(t *testing.T) {
	f := serve(t)
	for _, tt := range []struct {
		host string
		want int
	}{
		{"localhost:10917", 200}, {"localhost", 200}, {"127.0.0.1:1", 200}, {"127.9.9.9", 200}, {"[::1]:10917", 200}, {"[::1]", 200},
		{"evil.example:10917", 403}, {"127.0.0.1.evil.example", 403}, {"10.0.0.1", 403}, {"localhost.evil.example", 403},
	} {
		if code, _, _ := f.get(t, "/api/v1/paths", tt.host); code != tt.want {
			t.Errorf("Host %s: status %d, want %d", tt.host, code, tt.want)
		}
	}
}

func TestHealthz(t *testing.T) {
	f := serve(t)
	if code, _, _ := f.get(t, "/healthz", ""); code != 200 {
		t.Errorf("ready: status %d", code)
	}
	f.ready = errors.New("not synced")
	if code, body, _ := f.get(t, "/healthz", ""); code != 503 || !strings.Contains(body, "not synced") {
		t.Errorf("not ready: status %d, %s", code, body)
	}
}

func TestClientPaths(t *testing.T) {
	f := serve(t, broken())
	got, err := Client{BaseURL: f.URL}.Paths(t.Context())
	if err != nil || len(got) != 1 || got[0].Netns != "ns-7" || got[0].Sandbox.ID != "i7" || got[0].Diagnosis.Findings[0].Code != "vmm-exited" {
		t.Fatalf("got %+v, %v", got, err)
	}
	var a, b bytes.Buffer
	draw.Path(&a, broken(), draw.Screen{})
	draw.Path(&b, got[0], draw.Screen{})
	if a.String() != b.String() {
		t.Errorf("the picture changes on the wire:\n%s\n%s", &a, &b)
	}
}

func TestFindings(t *testing.T) {
	f := serve(t, broken(), path.Slot{Facts: path.Facts{Netns: "ns-8", CloseLook: &path.NotLooked}, Diagnosis: path.Diagnosis{State: path.Idle}})
	code, body, _ := f.get(t, "/api/v1/findings", "")
	var got struct {
		Findings []struct {
			Code, Severity, Netns, Cause string
			SandboxID                    string `json:"sandbox_id"`
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatal(code, err)
	}
	if len(got.Findings) != 1 || got.Findings[0].Code != "vmm-exited" || got.Findings[0].SandboxID != "i7" || got.Findings[0].Netns != "ns-7" || got.Findings[0].Cause == "" {
		t.Errorf("got %s", body)
	}
	if _, body, _ = serve(t).get(t, "/api/v1/findings", ""); strings.TrimSpace(body) != `{"findings":[]}` {
		t.Errorf("without any: %s", body)
	}
}

func TestClientEvents(t *testing.T) {
	for _, tt := range []struct {
		which Which
		want  []string
	}{{KeptAndNew, []string{"kept", "fresh"}}, {OnlyNew, []string{"fresh"}}} {
		f := serve(t)
		f.events.Publish(path.Event{Kind: path.CarrierUp, Netns: "kept"})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var got []string
		go func() {
			for ctx.Err() == nil { // until the client listens
				f.events.Publish(path.Event{Kind: path.CarrierLost, Netns: "fresh"})
				time.Sleep(10 * time.Millisecond)
			}
		}()
		err := Client{BaseURL: f.URL}.Events(ctx, tt.which, func(e path.Event, _ string) {
			if len(got) < len(tt.want) {
				got = append(got, e.Netns)
			}
			if len(got) == len(tt.want) {
				cancel()
			}
		})
		cancel()
		if err != nil || strings.Join(got, " ") != strings.Join(tt.want, " ") {
			t.Errorf("which %v: got %v, %v, want %v", tt.which, got, err, tt.want)
		}
	}
	if err := (Client{BaseURL: "http://127.0.0.1:1"}).Events(t.Context(), KeptAndNew, nil); err == nil || !strings.Contains(err.Error(), "does tapwatch agent run there") {
		t.Errorf("nobody there: %v", err)
	}
}

// TestClientKeptEvents holds that who wants what was kept alone does not wait for more.
func TestClientKeptEvents(t *testing.T) {
	f := serve(t)
	f.events.Publish(path.Event{Kind: path.CarrierUp, Netns: "kept"})
	n := 0
	err := Client{BaseURL: f.URL}.Events(t.Context(), OnlyKept, func(path.Event, string) { n++ })
	if err != nil || n != 1 {
		t.Errorf("%d events, %v", n, err)
	}
}

// histories knows of one sandbox that is there and one that is gone.
type histories struct{}

func (histories) Sandboxes() []path.Lived {
	return []path.Lived{{SandboxID: "i1", Name: "one", Netns: "ns-1"}, {SandboxID: "i0", Netns: "ns-1", Gone: time.Unix(1, 0)}}
}

func (histories) Past(path.Question) ([]path.Event, int, error) { return nil, 0, nil }

func (h histories) History(id string) (path.History, bool) {
	for _, l := range h.Sandboxes() {
		if l.SandboxID == id {
			boot := (&path.Boot{Begin: time.Unix(0, 0), Watched: true}).With(path.VMMStarted, time.Unix(0, 5e6))
			return path.History{Lived: l, Boot: boot, Events: []path.Event{{Kind: path.Bound, SandboxID: id}}}, true
		}
	}
	return path.History{}, false
}

func TestHistory(t *testing.T) {
	f := serve(t)
	c := Client{BaseURL: f.URL}
	for who, want := range map[string]string{"i1": "i1", "one": "i1", "ns-1": "i1", "i0": "i0"} {
		h, err := c.History(t.Context(), who)
		if err != nil || h.SandboxID != want || len(h.Events) != 1 || h.Boot.At(path.VMMStarted).UnixMilli() != 5 {
			t.Errorf("%s: %+v, %v, want that of %s", who, h, err, want)
		}
	}
	if _, err := c.History(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), "no sandbox nobody") {
		t.Errorf("nobody: %v", err)
	}
	if code, body, _ := f.get(t, "/api/v1/sandboxes/nobody/history", ""); code != http.StatusNotFound || !strings.Contains(body, "nobody") {
		t.Errorf("nobody: %d %s", code, body)
	}
	if _, body, _ := f.get(t, "/api/v1/sandboxes/i1/history", ""); !strings.Contains(body, `"phase":"vmm_started"`) || !strings.Contains(body, `"seconds":0.005`) {
		t.Errorf("got %s", body)
	}
}

// What is switched off or demoted has an address of its own.
func TestLevels(t *testing.T) {
	f := serve(t)
	f.levels = path.Levels{Off: []string{"no-egress"}, Info: []string{"tap-drops", "rp-filter"}}
	got, err := Client{BaseURL: f.URL}.Levels(t.Context())
	if err != nil || got.String() != f.levels.String() {
		t.Errorf("got %v, %v", got, err)
	}
}
