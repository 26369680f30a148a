package link

import (
	"slices"
	"testing"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

func TestLag(t *testing.T) {
	const down, up = 2, 6
	before := Link{Ifindex: 2, AdminUp: true, Carrier: Up, Operstate: up}
	lost := Link{Ifindex: 2, AdminUp: true, Carrier: Down, Operstate: up, DownCount: 1}
	with := func(l Link, change func(*Link)) Link { change(&l); return l }
	for what, c := range map[string]struct {
		second, third Link // a second apart each
		measured      []time.Duration
		stale         bool // at the end
	}{
		"it follows":          {second: lost, third: with(lost, func(l *Link) { l.Operstate = down }), measured: []time.Duration{time.Second}},
		"not yet":             {second: lost, third: with(lost, func(l *Link) { l.MTU = 1400 }), stale: true},
		"at once":             {second: with(lost, func(l *Link) { l.Operstate = down }), third: with(lost, func(l *Link) { l.Operstate, l.MTU = down, 1 })},
		"the carrier is back": {second: lost, third: with(before, func(l *Link) { l.UpCount, l.DownCount = 1, 1 })},
		"switched off":        {second: lost, third: with(lost, func(l *Link) { l.AdminUp, l.Operstate = false, down })},
	} {
		t.Run(what, func(t *testing.T) {
			tab := newTable()
			ns := tab.bind(1, 77)
			at := time.Unix(1, 0)
			tab.put(ns, before, at, true)
			tab.put(ns, c.second, at.Add(time.Second), false)
			tab.put(ns, c.third, at.Add(2*time.Second), false)
			want := newLag()
			for _, d := range c.measured {
				want.add(d)
			}
			if got := tab.operstateLag(); !slices.Equal(got.Counts, want.Counts) || got.Sum != want.Sum {
				t.Errorf("measured %+v, want %+v", got, want)
			}
			since := tab.get(netns.Device{Netns: 77, Ifindex: 2}).StaleSince
			if c.stale && !since.Equal(at.Add(time.Second)) || !c.stale && !since.IsZero() {
				t.Errorf("contradicts since %v", since)
			}
		})
	}
}

// TestLagIsMeasured closes taps until the kernel lets one's operstate lag.
func TestLagIsMeasured(t *testing.T) {
	w := start(t, Config{}, false)
	ns := nettest.Netns(t)
	c := w.add(ns)
	nettest.Tap(t, ns, "tap0")
	w.until(c, "tap0", "found", isDown)
	nettest.Eventually(t, "a lag measured", func() bool {
		tap := nettest.AttachTap(t, ns, "tap0")
		w.until(c, "tap0", "up at last", func(l Link) bool { return l.Carrier == Up && l.Operstate == 6 })
		tap.Close()
		w.until(c, "tap0", "down at last", func(l Link) bool { return l.Carrier == Down && l.Operstate == 2 })
		return w.Stats().OperstateLag.Sum > 0
	})
}
