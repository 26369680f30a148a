package scale

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/network"
)

// raw is what must reach no terminal, label or page: ESC, the C1 CSI, a bidi mark.
var raw = []string{"\x1b", "\u009b", "\u202e"}

// TestHostileNames runs the built agent beside a user who calls his process a
// Firecracker, two VMMs of one id, and a tap and a namespace with names that would
// steer a terminal.
func TestHostileNames(t *testing.T) {
	bin, fc := build(t), firecracker(t)
	f := makeFleet(t, 3, 0)
	hostile := exec.Command(fc, "--api-sock", "/tmp/fc-\x1b[31mgone\n\u202ecritical\u009b-x.sock")
	hostile.Env = []string{vmmMark + "=1"}
	hostile.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	nettest.Start(t, "", hostile)
	// One with such an id that holds a tap, and two with one id.
	id := nettest.RandomName("i")
	vmmIn(t, fc, network.Slot{Index: 1}, "\x1b[31m\u202e"+id)
	vmmIn(t, fc, network.Slot{Index: 2}, id+"twin")
	vmmIn(t, fc, network.Slot{Index: 3}, id+"twin")
	ns, tap := nettest.RandomName("tw\x1b[31m\u202e"), "t\x1b[31m\u202e"
	if err := netns.Create(ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Delete(ns); err != nil {
			t.Error(err)
		}
	})
	file := nettest.AttachTap(t, ns, tap) // held by the test, whom no rule knows
	defer file.Close()

	w := watchCmd(t, f.dir, exec.Command(bin, agentArgs(bin, f.dir)[1:]...))
	for i := range 3 {
		w.untilPath(network.Slot{Index: i + 1}.Netns(), "held by its VMM", func(s path.Slot) bool {
			return len(s.Device.Holders) > 0 && (s.Sandbox != nil || i == 0) // no rule takes such an id
		})
	}
	w.until("the stranger's tap", func() bool { return strings.Contains(w.page("/api/v1/paths"), ns[len(ns)-8:]) })
	events, stop := context.WithCancel(t.Context())
	defer stop()
	out := map[string]string{
		"/metrics": w.page("/metrics"), "page": w.page("/"), "findings": w.page("/api/v1/findings"), "sandboxes": w.page("/api/v1/sandboxes"),
		"events": w.someOf(events, "/api/v1/events"),
	}
	for _, args := range [][]string{{"doctor", "--all"}, {"doctor", "--all", "--output", "json"}} {
		text, _ := exec.Command(bin, append(args, "--agent-url", w.url)...).CombinedOutput() // its status is not what is tested
		out[strings.Join(args, " ")] = string(text)
	}
	for what, text := range out {
		for _, r := range raw {
			if i := strings.Index(text, r); i >= 0 {
				t.Errorf("%s has %q raw: %q", what, r, text[max(0, i-80):min(len(text), i+80)])
			}
		}
	}
	if d := out["doctor --all"]; !strings.Contains(d, id+"twin~2") {
		t.Errorf("two VMMs of one id are not told apart:\n%s", d)
	}
	for _, s := range w.paths() {
		for _, f := range s.Diagnosis.Findings {
			if s.Sandbox != nil && (strings.Contains(s.Sandbox.ID, "gone") || strings.Contains(s.Sandbox.ID, "critical")) {
				t.Errorf("of a process of another user: %s: %s", f.Code, f.Cause)
			}
		}
	}
	w.mustScrapeProtobuf()
}

func (w *watcher) page(at string) string {
	w.t.Helper()
	body, status, _ := w.get(at, false)
	if status != http.StatusOK {
		w.t.Errorf("%s: status %d: %s", at, status, body)
	}
	return string(body)
}

// someOf reads the beginning of a stream.
func (w *watcher) someOf(ctx context.Context, at string) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+at, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 256<<10)
	n, err := resp.Body.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		w.t.Fatal(err)
	}
	return string(b[:n])
}

// mustScrapeProtobuf scrapes as Prometheus does that wants created timestamps: there,
// one series twice spoils all.
func (w *watcher) mustScrapeProtobuf() {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+"/metrics", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Content-Type"), "protobuf") || !strings.Contains(string(body), "tapwatch_network_carrier") {
		w.t.Errorf("scrape in protobuf: %v, status %d, %s, %d bytes", err, resp.StatusCode, resp.Header.Get("Content-Type"), len(body))
	}
}
