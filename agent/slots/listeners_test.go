package slots

import (
	"net/netip"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

func TestSameTemplate(t *testing.T) {
	one := &path.Template{Dir: "/t", Problems: []path.TemplateProblem{{Code: "image-unreadable", Cause: "no image"}}}
	again := &path.Template{Dir: "/t", Problems: []path.TemplateProblem{{Code: "image-unreadable", Cause: "no image", Fix: "another"}}}
	for what, c := range map[string]struct {
		was  *path.Template
		same bool
	}{
		"none before":        {nil, false},
		"the same problems":  {again, true},
		"another directory":  {&path.Template{Dir: "/u", Problems: one.Problems}, false},
		"no problems before": {&path.Template{Dir: "/t"}, false},
		"another cause":      {&path.Template{Dir: "/t", Problems: []path.TemplateProblem{{Code: "image-unreadable"}}}, false},
	} {
		if got := sameTemplate(c.was, one); got != c.same {
			t.Errorf("%s: same %t", what, got)
		}
	}
}

// A relay is unheard until it is known to listen, and again where its queue is full. Of
// which nobody knows where it would be, nothing is to be heard.
func TestListened(t *testing.T) {
	w := newWorld(t)
	w.space(10, nil)
	tap := w.tap(10, 2, "tap0", path.Yes)
	w.hold(firecracker(11, "i1").on(tap, "tap0"))
	if reads := w.Relays(nil); len(reads) > 0 || !w.Listened(false) {
		t.Errorf("nobody knows where its relay is: %+v, listened %v", reads, w.Listened(false))
	}
	w.TakeTopology(w.Bound(nil)[0].Key, Topology{Addrs: Addrs{Vpeer: netip.MustParseAddr("10.61.0.21"), Guest: guest}, Shape: registry.Relay})
	full := path.Listener{Listening: path.Yes, Queue: path.Queue{FullSince: time.Now()}}
	for _, c := range []struct {
		is                path.Listener
		reported, watched bool // whether it is listened where the kernel reports, and where not
	}{
		{path.Listener{}, false, false},
		{path.Listener{Listening: path.No}, true, false},
		{path.Listener{Listening: path.Yes}, true, true},
		{full, false, false},
		{path.Listener{Listening: path.Yes}, true, true},
	} {
		r := w.Relays(nil)[0]
		r.Is = c.is
		w.TakeRelays([]RelayRead{r})
		if reported, watched := w.Listened(true), w.Listened(false); reported != c.reported || watched != c.watched || w.AnyQueueFull() != (c.is == full) {
			t.Errorf("%+v: %v where the kernel reports, %v where it does not, full %v", c.is, reported, watched, w.AnyQueueFull())
		}
	}
}
