package slots

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// The counters of what has gone are kept for a while, of each series once.
func TestGone(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	placeOf := func(c netns.Cookie, sandbox string) *place {
		p := &place{key: Key{Device: netns.Device{Netns: c, Ifindex: 2}}, space: &space{Namespace: Namespace{Cookie: c, Name: fmt.Sprintf("ns-%d", c)}},
			device: path.Device{Name: "tap0", Exists: path.Yes, Ups: 2, Downs: 1}, traffic: &path.Traffic{ReceivePackets: 5}}
		if sandbox != "" {
			p.stay = &stay{occupant: occupant{Identity: Identity{SandboxID: sandbox}}}
		}
		return p
	}
	w := newWorld(t)
	keep := func(p *place, second int) *gone { return w.keep(p, at(second)) }
	shown := func(living ...*path.Slot) string {
		var all []string
		for _, v := range w.Gone(living) {
			all = append(all, fmt.Sprintf("%s:%d:%d", v.Sandbox.ID, v.Traffic.ReceivePackets, v.Device.Ups+v.Device.Downs))
		}
		return strings.Join(all, " ")
	}
	if g := keep(placeOf(1, ""), 0); g != nil || shown() != "" {
		t.Errorf("an idle slot's counters are kept: %q", shown())
	}
	g := keep(placeOf(2, "i2"), 1)
	if shown() != "i2:5:3" {
		t.Errorf("kept %q", shown())
	}
	w.last(g, &path.Traffic{ReceivePackets: 8})
	if shown() != "i2:8:3" {
		t.Errorf("the last counters are %q", shown())
	}
	keep(placeOf(2, "i2"), 5) // once more under the same labels
	if shown() != "i2:5:3" {
		t.Errorf("two of the same labels are %q", shown())
	}
	facts := path.Facts{Netns: "ns-2", Sandbox: &path.Sandbox{ID: "i2"}, Device: path.Device{Name: "tap0", Exists: path.Yes}}
	if got := shown(&path.Slot{Facts: facts}); got != "" {
		t.Errorf("beside a living one of the same labels: %q", got)
	}
	for _, c := range []struct {
		second int
		want   string
	}{{11, "i2:5:3"}, {14, "i2:5:3"}, {15, ""}} {
		w.ForgetGone(at(c.second))
		if shown() != c.want {
			t.Errorf("after %d s: %q, want %q", c.second, shown(), c.want)
		}
	}
	for i := range goneMost + 10 {
		keep(placeOf(netns.Cookie(i), fmt.Sprintf("i%d", i)), 20)
	}
	if n := len(w.gone); n != goneMost || w.gone[0].view.Sandbox.ID != "i10" {
		t.Errorf("%d kept, from %s on", n, w.gone[0].view.Sandbox.ID)
	}
	w.cfg.Grace = -1
	if keep(placeOf(3, "i3"), 20) != nil {
		t.Error("kept without a grace")
	}
}

// What the hooks counted to the last is that of the sandbox that was there, also where
// another has come by then. What could not be read leaves what was known.
func TestLastCountersAreOfTheSandboxThatWent(t *testing.T) {
	w := newWorld(t)
	w.space(10, recorded("i1", process(11)))
	tap := w.tap(10, 2, "tap0", path.Yes)
	hooked := func() {
		for _, o := range w.Orders() {
			if !o.Off {
				w.TakeHooked(o, true)
			}
		}
	}
	hooked()
	w.TakeTraffic(tap, &path.Traffic{ReceivePackets: 5}, Firsts{}, false)
	w.space(10, recorded("i2", process(12)))
	orders := w.Orders()
	i := slices.IndexFunc(orders, func(o Order) bool { return o.Off })
	if i < 0 || orders[i].Last == nil {
		t.Fatalf("orders %+v", orders)
	}
	gone := func() *path.Slot {
		all := w.Gone(w.Views())
		if len(all) != 1 || all[0].Sandbox.ID != "i1" {
			t.Fatalf("kept %+v", all)
		}
		return all[0]
	}
	if got := gone(); got.Traffic == nil || got.Traffic.ReceivePackets != 5 {
		t.Errorf("before the hooks went: %+v", got.Traffic)
	}
	orders[i].Last(&path.Traffic{ReceivePackets: 8})
	if got := gone(); got.Traffic.ReceivePackets != 8 {
		t.Errorf("the last counters: %+v", got.Traffic)
	}
	if now := w.Views()[0]; now.Sandbox.ID != "i2" || now.Traffic != nil {
		t.Errorf("the next sandbox begins with %+v", now.Traffic)
	}
}
