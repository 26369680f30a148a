package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/conns"
	"tapwatch/internal/sandbox/proxy"
)

// While a command runs proxy and relay show its connection, the relay's as the proxy
// made it; s is behind a relay.
func wantBothLayers(t *testing.T, m *Manager, url string, s Sandbox) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		exec(t, url, s, "bash", "-c", "until test -e /tmp/seen; do sleep 0.05; done")
	}()
	layers := map[string]conns.Stats{}
	eventually(t, "proxy and relay show a connection that is open", func() bool {
		for _, l := range m.Connections(s.ID) {
			layers[l.Layer] = l
		}
		return len(open(layers[conns.Proxy])) > 0 && len(open(layers[conns.Relay])) > 0
	})
	one, two := layers[conns.Proxy], layers[conns.Relay]
	if one.Requests == nil || two.Requests != nil || two.Opened == 0 || two.Sent == 0 || two.Received == 0 || two.DialErrors["ECONNREFUSED"] == 0 {
		t.Errorf("counted %+v and %+v", one, two)
	}
	for _, c := range open(two) {
		if !strings.HasPrefix(c.Client, s.Slot.VethIP().String()+":") || !strings.HasPrefix(c.Remote, s.Slot.GuestIP().String()+":") {
			t.Errorf("the relay shows %+v", c)
		}
	}
	if other := m.Connections("inone"); len(other) != 0 {
		t.Errorf("of no sandbox: %+v", other)
	}
	exec(t, url, s, "touch", "/tmp/seen")
	<-ended
}

// open are the connections that reached the sandbox and asked it something.
func open(s conns.Stats) (asked []conns.Connection) {
	for _, c := range s.Open {
		if c.ConnectUS != nil && c.Sent > 0 {
			asked = append(asked, c)
		}
	}
	return asked
}

// wantPauseWaitedFor stops the VMM: a new connection is waited for and then
// answered with a 502, and when the VMM runs again so do requests.
func wantPauseWaitedFor(t *testing.T, m *Manager, url string, s Sandbox) {
	t.Helper()
	const patience = time.Second
	p, err := m.Proxy(proxy.Config{Limits: proxy.Limits{DialTimeout: patience}}) // one without a connection to the sandbox
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.VMM.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	code, body := ask(t, "http://"+l.Addr().String(), s, "49983")
	waited := time.Since(asked)
	if err := syscall.Kill(s.VMM.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var told struct {
		SandboxID, Message string
		Code, Port         int
	}
	if err := json.Unmarshal([]byte(body), &told); err != nil || code != http.StatusBadGateway || told.Code != code || told.SandboxID != s.ID || told.Port != 49983 {
		t.Errorf("of a paused sandbox: %d %s, %v", code, body, err)
	}
	if waited < patience { // behind a relay it is the relay's patience, which is longer
		t.Errorf("answered after %v: %s", waited, body)
	}
	for _, c := range m.Connections(s.ID) { // the layer that reaches the guest tells
		if reaches := (c.Layer == conns.Relay) == (s.Path == registry.Relay); reaches && c.DialErrors["ETIMEDOUT"]+c.DialErrors["EHOSTUNREACH"] > 0 {
			if got := exec(t, url, s, "echo", "awake"); got != "awake\n" {
				t.Errorf("printed %q after the pause", got)
			}
			return
		}
	}
	t.Errorf("no dial error counted in %+v", m.Connections(s.ID))
}
