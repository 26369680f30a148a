package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"tapwatch/agent/events"
	"tapwatch/agent/httpapi"
	"tapwatch/agent/metrics"
	"tapwatch/agent/path"
)

type noHistory struct{}

func (noHistory) History(string) (path.History, bool) { return path.History{}, false }
func (noHistory) Sandboxes() []path.Lived             { return nil }
func (noHistory) Past(path.Question) ([]path.Event, int, error) {
	return nil, 0, nil
}

// serveFleet is the agent's own API over slots that no kernel has.
func serveFleet(t *testing.T, n int) (url string, hub *events.Hub) {
	t.Helper()
	var slots []path.Slot
	for i := range n {
		s := path.Slot{Facts: path.Facts{Netns: fmt.Sprintf("ns-%d", i), Device: path.Device{Name: "tap0"}, Sandbox: &path.Sandbox{ID: fmt.Sprintf("i%05d", i), Name: fmt.Sprintf("name-%d", i)}}}
		s.Diagnosis.State = path.OK
		if i == n/2 {
			s.Sandbox.Name = "evil\x1b]0;owned\a"
			s.Diagnosis = path.Diagnosis{State: path.Broken, Hops: []path.HopState{{Hop: path.Tap, State: path.Broken, Detail: "NO-CARRIER"}},
				Findings: []path.Finding{{Code: "vmm-exited", Hop: path.Tap, Severity: path.Critical, Cause: "the VMM was killed", Fix: "start it again"}}}
		}
		slots = append(slots, s)
	}
	return serveSlots(t, slots)
}

func serveSlots(t *testing.T, slots []path.Slot) (url string, hub *events.Hub) {
	t.Helper()
	hub = new(events.Hub)
	h, err := httpapi.New(httpapi.Config{
		Slots: func() []path.Slot { return slots }, Views: func() []*path.Slot { return nil }, Metrics: func() metrics.Snapshot { return metrics.Snapshot{} },
		Events: hub, Recorder: noHistory{}, Ready: func() error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL, hub
}

// screen is a terminal with a program in it.
type screen struct {
	*vt.SafeEmulator
	t    *testing.T
	keys io.Writer
	done chan error
}

func onScreen(t *testing.T, columns, rows int, args ...string) *screen {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tapwatch", args...)
	cmd.Env = append(cmd.Environ(), "TERM=xterm-256color", "NO_COLOR=")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: uint16(rows), Cols: uint16(columns)})
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{SafeEmulator: vt.NewSafeEmulator(columns, rows), t: t, keys: terminal, done: make(chan error, 1)}
	go func() { _, _ = io.Copy(terminal, s.Emulator) }() // what the terminal answers to questions
	go func() {
		_, _ = io.Copy(s, terminal)
		s.done <- cmd.Wait()
	}()
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGKILL); terminal.Close() })
	return s
}

// text is what the screen shows, a line each.
func (s *screen) text() string {
	var b strings.Builder
	for y := range s.Height() {
		for x := 0; x < s.Width(); x++ {
			if c := s.CellAt(x, y); c != nil {
				b.WriteString(c.Content)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// shows waits until the screen shows all texts.
func (s *screen) shows(texts ...string) {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		text, all := s.text(), true
		for _, want := range texts {
			all = all && strings.Contains(text, want)
		}
		if all {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatalf("the screen does not show %q:\n%s", texts, s.text())
}

func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keys, keys); err != nil {
		s.t.Fatal(err)
	}
}

// TestTop drives the live view in a terminal, as a person does.
func TestTop(t *testing.T) {
	url, hub := serveFleet(t, 5000)
	s := onScreen(t, 100, 24, "top", "--agent-url", url)
	s.shows("1 broken  4999 ok", `> i02500`, `evil\x1b]0;owned\a`, "vmm-exited: the VMM was killed", "5000 of 5000")
	s.press("\x1b[B")
	s.shows("> i00000")
	s.press("/name-4321\r")
	s.shows("1 of 5000", "> i04321")
	s.press("\x1b")
	s.shows("5000 of 5000")
	s.press("g\r")
	s.shows("NO-CARRIER", "start it again")
	hub.Publish(path.Event{Time: time.Now(), Kind: path.CarrierLost, Netns: "ns-2500", SandboxID: "i02500", Text: "NO-CARRIER on tap0"})
	s.shows("carrier-lost")
	s.press("e")
	s.shows("carrier-lost", "NO-CARRIER on tap0")
	s.press("q")
	if err := <-s.done; err != nil {
		t.Errorf("q ends it with %v", err)
	}
	if s.IsAltScreen() || s.CursorHidden() {
		t.Error("the terminal is not as it was")
	}
}

func TestTopOnce(t *testing.T) {
	url, _ := serveFleet(t, 5000)
	out, err := exec.CommandContext(t.Context(), "tapwatch", "top", "--once", "-o", "json", "--agent-url", url, "--filter", "broken").Output()
	var got struct {
		Counts    map[string]int
		Sandboxes []struct {
			ID   string `json:"sandbox_id"`
			Code string
		}
	}
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil || got.Counts["broken"] != 1 || len(got.Sandboxes) != 1 || got.Sandboxes[0].ID != "i02500" || got.Sandboxes[0].Code != "vmm-exited" {
		t.Errorf("%v: %s", err, out)
	}
	text := onTerminal(t, 80, "top", "--once", "--agent-url", url, "--filter", "ns-25")
	keptWithin(t, text, 80)
	if !strings.Contains(text, "111 of 5000") {
		t.Error(text)
	}
}
