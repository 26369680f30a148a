package recorder

import (
	"fmt"
	"testing"
	"time"

	"tapwatch/agent/path"
)

func event(id string, kind path.EventKind, at time.Time) path.Event {
	return path.Event{Time: at, Kind: kind, Netns: "ns-1", SandboxID: id, Name: "n"}
}

func TestHistoryIsInTheOrderOfTime(t *testing.T) {
	r, now := New(nil), time.Now()
	r.Note(event("a", path.Bound, now))
	r.Note(event("a", path.CarrierLost, now.Add(2*time.Millisecond)))
	r.Note(event("a", path.VMMExited, now.Add(time.Millisecond))) // told late
	r.Note(event("", path.SlotAdded, now))
	h, ok := r.History("a")
	if !ok || len(h.Events) != 3 || h.Events[1].Kind != path.VMMExited || h.Events[2].Kind != path.CarrierLost {
		t.Errorf("got %v, %+v", ok, h)
	}
	if h.Netns != "ns-1" || h.Name != "n" || !h.Gone.IsZero() {
		t.Errorf("got %+v", h.Lived)
	}
	if _, ok := r.History(""); ok {
		t.Error("nobody has a history")
	}
}

func TestLastEventsAreKept(t *testing.T) {
	r, now := New(nil), time.Now()
	r.Note(event("a", path.Bound, now))
	const more = 3 * eventsKept
	for i := range more {
		r.Note(event("a", path.CarrierLost, now.Add(time.Duration(i)*time.Second)))
	}
	h, _ := r.History("a")
	if len(h.Events) != eventsKept || h.Dropped != more+1-eventsKept || h.Events[0].Time != now.Add((more-eventsKept)*time.Second) {
		t.Errorf("%d events from %v, %d dropped", len(h.Events), h.Events[0].Time, h.Dropped)
	}
}

func TestGoneAreKeptAnHour(t *testing.T) {
	r, begin := New(nil), time.Now().Add(-keepGone-time.Minute)
	r.Note(event("old", path.Bound, begin))
	r.Note(event("again", path.Bound, begin))
	r.Note(event("old", path.Unbound, begin))
	r.Note(event("again", path.Unbound, begin))
	if h, ok := r.of["old"]; !ok || h.Gone.IsZero() {
		t.Error("forgotten at once")
	}
	r.Note(event("again", path.Bound, begin.Add(time.Second)))
	r.Note(event("new", path.Bound, time.Now()))
	r.Note(event("new", path.SlotRemoved, time.Now()))
	got := r.Sandboxes()
	if len(got) != 2 || got[0].SandboxID != "again" || got[1].SandboxID != "new" || got[1].Gone.IsZero() {
		t.Errorf("got %+v", got)
	}
	if _, ok := r.History("old"); ok {
		t.Error("kept for more than an hour")
	}
	r.Note(event("old", path.VMMExited, time.Now())) // a straggler
	if _, ok := r.History("old"); ok {
		t.Error("a straggler brought back what was forgotten, for good")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	r, now := New(nil), time.Now()
	for i := range goneKept + 100 {
		id := fmt.Sprint(i)
		r.Note(event(id, path.Bound, now))
		r.Note(event(id, path.Unbound, now))
	}
	if len(r.of) != goneKept || len(r.gone) != goneKept {
		t.Errorf("%d histories and %d gone, want %d", len(r.of), len(r.gone), goneKept)
	}
	if _, ok := r.of["0"]; ok {
		t.Error("the longest gone is kept")
	}
}

func TestBoot(t *testing.T) {
	r, now := New(nil), time.Now()
	boot := &path.Boot{Begin: now}
	r.Boot("a", boot)
	if _, ok := r.History("a"); ok {
		t.Error("a boot without a sandbox is kept")
	}
	r.Note(event("a", path.Bound, now))
	r.Boot("a", boot)
	if h, _ := r.History("a"); h.Boot != boot {
		t.Error("the boot is lost")
	}
}
