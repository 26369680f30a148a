package slots

import (
	"fmt"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Trouble that is old is looked at less often than what is new or may change by
// itself, and what has none not at all but in its turn.
func TestHowOftenIsLooked(t *testing.T) {
	broken := path.Diagnosis{State: path.Broken, Findings: []path.Finding{{Code: "rule-drops", Hop: path.Relay}}}
	for name, c := range map[string]struct {
		d     path.Diagnosis
		age   time.Duration
		waits bool
		want  int
	}{
		"healthy":         {d: path.Diagnosis{State: path.OK}, want: 0},
		"boots":           {d: path.Diagnosis{State: path.Booting}, want: inspectRarely},
		"a request waits": {d: path.Diagnosis{State: path.OK}, waits: true, want: inspectRarely},
		"broken just now": {d: broken, want: inspectRarely},
		"broken for long": {d: broken, age: inspectFresh + time.Second, want: 1},
	} {
		w := newWorld(t)
		vmm := process(70)
		w.space(4, recorded("i1", vmm))
		d := w.tap(4, 2, "tap0", path.Yes)
		w.hold(vmm.on(d, "tap0"))
		if c.waits {
			w.TakeHooked(Order{Device: d}, true)
			w.TakeTraffic(d, &path.Traffic{EnvdWaiting: time.Now()}, Firsts{}, false)
		}
		w.judge(c.d)
		looks := 0
		for n := range inspectRarely {
			looks += len(w.DueInspections(n, time.Now().Add(c.age), 8))
		}
		if looks != c.want {
			t.Errorf("%s: looked at %d times of %d, want %d", name, looks, inspectRarely, c.want)
		}
		for _, target := range w.Bound(nil) {
			if now, quiet := w.Untroubled(target); quiet != (c.want == 0) || now.Calm != quiet {
				t.Errorf("%s: in its turn %v, calm %v", name, quiet, now.Calm)
			}
		}
	}
}

// No more than are asked for are looked at at a time.
func TestLooksAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		vmm, in := process(70+i), self+1+netns.Cookie(i)
		w.space(in, recorded(fmt.Sprintf("i%d", i), vmm))
		w.tap(in, 2, "tap0", path.Yes)
	}
	w.hold()
	w.judge(path.Diagnosis{State: path.Booting})
	if due := w.DueInspections(0, time.Now(), 3); len(due) != 3 {
		t.Errorf("%d are due, want 3", len(due))
	}
}

// A guest is asked by ARP where nothing has come from it since a SYN waits, and where what
// came was no answer to ARP for as long as guests take to answer.
func TestWhoIsAskedByARP(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for name, c := range map[string]struct {
		traffic path.Traffic
		want    bool
	}{
		"nothing waits":              {path.Traffic{LastReceive: ago(time.Hour)}, false},
		"silent":                     {path.Traffic{EnvdWaiting: ago(time.Second), LastReceive: ago(time.Minute)}, true},
		"silent for a moment":        {path.Traffic{EnvdWaiting: ago(time.Millisecond), LastReceive: ago(time.Minute)}, true},
		"it sends, for a moment":     {path.Traffic{EnvdWaiting: ago(100 * time.Millisecond), LastReceive: ago(0)}, false},
		"it sends":                   {path.Traffic{EnvdWaiting: ago(time.Second), LastReceive: ago(0), LastARPReply: ago(time.Minute)}, true},
		"it has answered":            {path.Traffic{EnvdWaiting: ago(time.Second), LastReceive: ago(0), LastARPReply: ago(0)}, false},
		"it is being asked":          {path.Traffic{EnvdWaiting: ago(time.Second), LastReceive: ago(0), ARPWaiting: ago(0)}, false},
		"it has been asked for long": {path.Traffic{EnvdWaiting: ago(time.Minute), ARPWaiting: ago(time.Minute)}, false},
	} {
		w := newWorld(t)
		vmm := process(70)
		w.space(4, recorded("i1", vmm))
		d := w.tap(4, 2, "tap0", path.Yes)
		w.hold(vmm.on(d, "tap0"))
		w.TakeHooked(Order{Device: d}, true)
		w.TakeTraffic(d, &c.traffic, Firsts{}, false)
		for _, target := range w.Bound(nil) {
			if target.Waiting != c.want {
				t.Errorf("%s: asked by ARP %v, want %v", name, target.Waiting, c.want)
			}
		}
	}
}
