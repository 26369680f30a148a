package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tapwatch/agent/path"
)

// changing is slots that a test changes while a page is open.
type changing struct {
	mu    sync.Mutex
	slots []path.Slot
	asked int
}

func (c *changing) set(slots ...path.Slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots = slots
}

func (c *changing) all() []path.Slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return c.slots
}

type liveMessage struct {
	kind   string
	Rows   []row
	Put    []row
	Gone   []string
	Head   *head
	Events []path.Event
}

// open reads the page's stream until the test ends.
func open(t *testing.T, f *fixture) <-chan liveMessage {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL+"/api/v1/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	got := make(chan liveMessage, 100)
	go func() {
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 8<<20)
		var m liveMessage
		for lines.Scan() {
			if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				m = liveMessage{kind: kind}
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && m.kind != "alive" && json.Unmarshal([]byte(data), &m) == nil {
				got <- m
			}
		}
	}()
	return got
}

// next returns the next message that fits.
func next(t *testing.T, from <-chan liveMessage, fits func(liveMessage) bool) liveMessage {
	t.Helper()
	for late := time.After(30 * time.Second); ; {
		select {
		case m := <-from:
			if fits(m) {
				return m
			}
		case <-late:
			t.Fatal("the message does not come")
		}
	}
}

func TestLive(t *testing.T) {
	well := broken()
	well.Diagnosis = path.Diagnosis{State: path.OK}
	c := &changing{slots: []path.Slot{well}}
	f := serveChanging(t, c.all)
	f.ready = errors.New("the link state is being read")
	f.levels = path.Levels{Off: []string{"no-egress"}}
	f.events.Publish(path.Event{Kind: path.Bound, SandboxID: "i7"})
	one, two := open(t, f), open(t, f)
	for _, page := range []<-chan liveMessage{one, two} {
		m := next(t, page, func(m liveMessage) bool { return m.kind == "all" })
		if len(m.Rows) != 1 || m.Rows[0].ID != "i7" || m.Rows[0].State != path.OK || m.Head.Host != "host-1" || len(m.Events) != 1 ||
			m.Head.Ready != "the link state is being read" || m.Head.Levels != "switched off: no-egress" {
			t.Fatalf("at first: %+v, head %+v", m, m.Head)
		}
	}
	c.set(broken())
	f.events.Publish(path.Event{Kind: path.Problem, SandboxID: "i7"})
	for _, page := range []<-chan liveMessage{one, two} {
		m := next(t, page, func(m liveMessage) bool { return len(m.Put) > 0 })
		if r := m.Put[0]; m.kind != "change" || r.State != path.Broken || r.Hop != path.Tap || r.Text != "the VMM has exited" || len(r.Codes) != 1 || len(m.Gone) > 0 {
			t.Errorf("broken: %+v", m)
		}
	}
	c.set()
	key := rowOf(shared([]path.Slot{well})[0]).Key
	if m := next(t, one, func(m liveMessage) bool { return len(m.Gone) > 0 }); m.Gone[0] != key || len(m.Put) > 0 {
		t.Errorf("gone: %+v, want %s", m, key)
	}
}

// TestLiveRests: without a viewer nothing is asked for and nothing kept, and the next
// one is told what is true then.
func TestLiveRests(t *testing.T) {
	c := &changing{slots: []path.Slot{broken()}}
	l := &live{api: &api{Config: Config{Views: func() []*path.Slot { return shared(c.all()) }, Events: &(&fixture{}).events, Ready: func() error { return nil }}}}
	v, err := l.join()
	if err != nil {
		t.Fatal(err)
	}
	stop := l.stop
	l.leave(v)
	<-stop // the goroutine ends with it
	asked := c.asked
	l.tell(stop, nil)
	if l.rows != nil || l.stop != nil || c.asked != asked {
		t.Errorf("kept for nobody: %d rows, asked %d times more", len(l.rows), c.asked-asked)
	}
	c.set()
	if v, err = l.join(); err != nil {
		t.Fatal(err)
	}
	if first := string(<-v.C); !strings.Contains(first, `"rows":[]`) {
		t.Errorf("the next viewer is told %s", first)
	}
	l.leave(v)
}

// TestLiveSlowViewer: who does not read holds up nobody, and is told everything anew.
func TestLiveSlowViewer(t *testing.T) {
	c := &changing{}
	hub := &(&fixture{}).events
	l := &live{api: &api{Config: Config{Views: func() []*path.Slot { return shared(c.all()) }, Events: hub, Ready: func() error { return nil }}}}
	v, err := l.join()
	if err != nil {
		t.Fatal(err)
	}
	defer l.leave(v)
	for i := range 2*liveBehind + 1 {
		s := broken()
		s.Sandbox.Name = strconv.Itoa(i)
		c.set(s)
		l.tell(l.stop, nil)
	}
	kept := map[string]row{}
	for len(v.C) > 0 {
		kind, data, _ := strings.Cut(string(<-v.C), "\ndata: ")
		var m liveMessage
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			t.Fatal(err)
		}
		if kind == "event: all" {
			clear(kept)
		}
		for _, r := range append(m.Rows, m.Put...) {
			kept[r.Key] = r
		}
	}
	if len(kept) != 1 || kept[rowOf(&path.Slot{Facts: path.Facts{Netns: "ns-7", Sandbox: &path.Sandbox{ID: "i7"}, Device: path.Device{Name: "tap0"}}}).Key].Name != strconv.Itoa(2*liveBehind) {
		t.Errorf("in the end the slow one has %+v", kept)
	}
}

func TestLiveTooMany(t *testing.T) {
	l := &live{api: &api{Config: Config{Views: func() []*path.Slot { return nil }, Events: &(&fixture{}).events, Ready: func() error { return nil }}}}
	for range liveViewers {
		v, err := l.join()
		if err != nil {
			t.Fatal(err)
		}
		defer l.leave(v)
	}
	if _, err := l.join(); !errors.Is(err, errTooMany) {
		t.Errorf("one more: %v", err)
	}
}

func TestSandbox(t *testing.T) {
	f := serve(t, broken())
	for id, want := range map[string]string{"i7": `"cause":"the VMM has exited"`, "i0": `"slot":null`, "i1": `"kind":"bound"`} {
		if code, body, _ := f.get(t, "/api/v1/sandboxes/"+id, ""); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", id, code, body, want)
		}
	}
	if code, body, _ := f.get(t, "/api/v1/sandboxes/nobody", ""); code != 404 || !strings.Contains(body, "no sandbox nobody") {
		t.Errorf("nobody: %d %s", code, body)
	}
}

// BenchmarkLive: what it costs to compare 5,000 sandboxes of which 50 have changed.
func BenchmarkLive(b *testing.B) {
	views := make([]*path.Slot, 5000)
	fresh := func(i int) {
		s := broken()
		s.Netns, s.Sandbox.ID = "ns-"+strconv.Itoa(i), "i"+strconv.Itoa(i)
		views[i] = &s
	}
	for i := range views {
		fresh(i)
	}
	l := &live{api: &api{Config: Config{Views: func() []*path.Slot { return views }, Events: &(&fixture{}).events, Ready: func() error { return nil }}}}
	v, err := l.join()
	if err != nil {
		b.Fatal(err)
	}
	defer l.leave(v)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		for i := range 50 {
			fresh((n*50 + i) % len(views))
		}
		l.tell(l.stop, nil)
	}
}
