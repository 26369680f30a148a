package sandbox

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/envd"
)

// A real VM behind each of the shapes that have no relay: any port is reached,
// one that is closed is a 502, and the record says the shape.
func TestShapesWithoutRelay(t *testing.T) {
	for _, shape := range []registry.Shape{registry.Fused, registry.DNAT} {
		t.Run(string(shape), func(t *testing.T) {
			t.Parallel()
			m := newManager(t, Config{Path: shape})
			url := serveProxy(t, m)
			s := create(t, m, CreateRequest{Template: "base"})
			if got := exec(t, url, s, "echo", "42"); got != "42\n" {
				t.Errorf("printed %q", got)
			}
			records, err := registry.Dir(m.cfg.RunDir).List()
			if err != nil || len(records) != 1 || records[0].Sandbox.Shape != shape || records[0].HostIP != s.Slot.HostIP().String() {
				t.Errorf("recorded %+v, %v", records, err)
			}
			if code, body := ask(t, url, s, "9"); code != http.StatusBadGateway || !strings.Contains(body, "nothing listens on port 9 in the sandbox") {
				t.Errorf("port 9: %d %s", code, body)
			}
			if n := len(m.Relays()); n != 0 {
				t.Errorf("%d relays", n)
			}
			if c := m.Connections(s.ID); len(c) != 1 || c[0].DialErrors["ECONNREFUSED"] == 0 || c[0].Opened == 0 {
				t.Errorf("counted %+v", c)
			}
			wantConfined(t, url, s)
			wantPauseWaitedFor(t, m, url, s)
			wantCutByKill(t, m, url, s)
		})
	}
}

// wantCutByKill kills the sandbox under a command that runs on: no relay is there
// to cut its connection.
func wantCutByKill(t *testing.T, m *Manager, url string, s Sandbox) {
	t.Helper()
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		c := &envd.Client{BaseURL: url, Header: http.Header{"E2b-Sandbox-Id": {s.ID}}}
		_, err := c.Exec(t.Context(), envd.ExecRequest{Cmd: "bash", Args: []string{"-c", "echo up; sleep 600"}}, closer{started}, io.Discard)
		ended <- err
	}()
	select {
	case <-started:
	case err := <-ended:
		t.Fatal("the command did not start:", err)
	}
	if err := m.Kill(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the command ended well in a sandbox that was killed")
	}
}

// closer closes its channel at the first write.
type closer struct{ at chan struct{} }

func (c closer) Write(b []byte) (int, error) {
	select {
	case <-c.at:
	default:
		close(c.at)
	}
	return len(b), nil
}

func TestUnknownShape(t *testing.T) {
	m := newManager(t, Config{})
	if _, err := m.Create(t.Context(), CreateRequest{Template: "base", Path: "bridge"}); err == nil || !strings.Contains(err.Error(), "must be relay, fused or dnat") {
		t.Error(err)
	}
	if _, err := New(Config{Path: "bridge"}); err == nil || !strings.Contains(err.Error(), "must be relay, fused or dnat") {
		t.Error(err)
	}
}
