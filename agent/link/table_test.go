package link

import (
	"math"
	"testing"
	"time"

	"tapwatch/internal/netns"
)

func TestPut(t *testing.T) {
	at := time.Unix(1, 0)
	known := Link{Ifindex: 2, Name: "tap0", Carrier: Up, AdminUp: true, UpCount: 5, DownCount: 4}
	with := func(change func(*Link)) Link {
		l := known
		change(&l)
		return l
	}
	for what, c := range map[string]struct {
		in    Link
		asked bool
		steps string // of each change: + new, - gone, ~ other
		final Carrier
		fresh bool // Changed is set
	}{
		"the same again":          {in: known, final: Up},
		"a loss":                  {in: with(func(l *Link) { l.Carrier, l.DownCount = Down, 5 }), steps: "~", final: Down, fresh: true},
		"a flap":                  {in: with(func(l *Link) { l.UpCount, l.DownCount = 7, 6 }), steps: "~", final: Up, fresh: true},
		"down by hand":            {in: with(func(l *Link) { l.AdminUp = false }), steps: "~", final: Up, fresh: true},
		"another name":            {in: with(func(l *Link) { l.Name = "tap1" }), steps: "~", final: Up},
		"another address":         {in: with(func(l *Link) { l.Addr = []byte{1} }), steps: "~", final: Up},
		"an event of before":      {in: with(func(l *Link) { l.Carrier, l.UpCount = Down, 4 }), final: Up},
		"an answer of before":     {in: with(func(l *Link) { l.Carrier, l.UpCount, l.DownCount = Down, 0, 0 }), asked: true, steps: "-+", final: Down},
		"an answer with news":     {in: with(func(l *Link) { l.Carrier, l.DownCount = Down, 5 }), asked: true, steps: "~", final: Down, fresh: true},
		"an interface of its own": {in: with(func(l *Link) { l.Ifindex = 3 }), steps: "+", final: Up},
	} {
		t.Run(what, func(t *testing.T) {
			tab := newTable()
			ns := tab.bind(1, 77)
			tab.put(ns, known, at, true)
			now := at.Add(time.Second)
			steps := ""
			for _, change := range tab.put(ns, c.in, now, c.asked) {
				switch {
				case change.Old == nil:
					steps += "+"
				case change.New == nil:
					steps += "-"
				default:
					steps += "~"
				}
				if change.Time != now || change.Asked != c.asked || change.Key().Netns != 77 {
					t.Errorf("change %+v", change)
				}
			}
			l := tab.get(netns.Device{Netns: 77, Ifindex: known.Ifindex})
			if steps != c.steps || l.Carrier != c.final {
				t.Errorf("steps %q, want %q; carrier %s, want %s", steps, c.steps, l.Carrier, c.final)
			}
			if c.fresh != l.Changed.Equal(now) {
				t.Errorf("changed at %v", l.Changed)
			}
		})
	}
}

func TestCountersWrap(t *testing.T) {
	old := &Link{UpCount: math.MaxUint32, DownCount: math.MaxUint32}
	now := &Link{UpCount: 1, DownCount: 0}
	if now.behind(old) || !old.behind(now) {
		t.Error("counters that wrapped are taken for older")
	}
	c := Change{Old: old, New: now}
	if c.Ups() != 2 || c.Downs() != 1 {
		t.Errorf("%d ups and %d downs", c.Ups(), c.Downs())
	}
	if first := (Change{New: now}); first.Ups() != 0 || first.Downs() != 0 {
		t.Error("a link that is new to us has flapped")
	}
}

func TestSnapshotIsNotWrittenTo(t *testing.T) {
	tab := newTable()
	ns := tab.bind(1, 77)
	tab.put(ns, Link{Ifindex: 3, Carrier: Up}, time.Time{}, true)
	tab.put(ns, Link{Ifindex: 2, Carrier: Up}, time.Time{}, true)
	before := tab.all()
	if len(before) != 2 || before[0].Ifindex != 2 || &tab.all()[0] != &before[0] {
		t.Fatalf("not ordered, or not shared: %+v", before)
	}
	tab.put(ns, Link{Ifindex: 2, Carrier: Down, DownCount: 1}, time.Time{}, false)
	if before[0].Carrier != Up || tab.all()[0].Carrier != Down {
		t.Error("a snapshot changed, or the next did not")
	}
	if gone := tab.drop(ns, time.Time{}, false); len(gone) != 2 || len(tab.all()) != 0 || tab.in(77) != nil {
		t.Errorf("%d removals, %d links left", len(gone), len(tab.all()))
	}
}

func TestRecheckIsPutOffByEachEvent(t *testing.T) {
	var q recheckQueue
	a, b := linkID{1, 2}, linkID{1, 3}
	start := time.Unix(1, 0)
	q.add(a, start)
	q.add(b, start.Add(time.Millisecond))
	q.add(a, start.Add(time.Millisecond))
	if calm := start.Add(time.Millisecond + recheckAfter); !q.due().Equal(calm) {
		t.Errorf("due at %v, want %v", q.due(), calm)
	}
	if id, ok := q.take(start.Add(recheckAfter)); ok {
		t.Errorf("%v asked for before its time", id)
	}
	var got []linkID
	for {
		id, ok := q.take(start.Add(time.Hour))
		if !ok {
			break
		}
		got = append(got, id)
	}
	if len(got) != 2 || got[0] != b || got[1] != a || !q.due().IsZero() {
		t.Errorf("asked for %v", got)
	}
}

// While events keep coming nothing is asked, but for so long only.
func TestRecheckWaitsForAStormToEnd(t *testing.T) {
	var q recheckQueue
	start := time.Unix(1, 0)
	for i := range 150 { // one a millisecond
		now := start.Add(time.Duration(i) * time.Millisecond)
		q.add(linkID{1, netns.Ifindex(i)}, now)
		id, ok := q.take(now)
		if patience := recheckAfter + recheckPatience; ok != (now.Sub(start) >= patience) {
			t.Fatalf("after %v: asked %v for %v, patience is %v", now.Sub(start), ok, id, patience)
		}
	}
	for now := start.Add(150*time.Millisecond + recheckAfter); ; {
		if _, ok := q.take(now); !ok {
			break
		}
	}
	if !q.due().IsZero() {
		t.Errorf("something is due at %v", q.due())
	}
}
