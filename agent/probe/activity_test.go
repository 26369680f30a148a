package probe

import (
	"testing"

	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// A device that counted is told of, from the half second of the last look on; one
// that did not is not.
func TestActivity(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, f := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, f)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	quiet := netns.Device{Netns: d.Netns + 1, Ifindex: d.Ifindex} // a namespace beside it
	start := ktime.Now()
	transmit(t, ns, d, ethernet(guestMAC, g.host, 0x86dd, ipv6()))
	eventually(t, p, d, "sent", func(c Counters) bool { return c.TransmitPackets > 0 })
	var a Activity
	look := func(since ktime.Moment) {
		t.Helper()
		if err := p.ReadActivity(&a, since); err != nil {
			t.Fatal(err)
		}
	}
	look(start)
	if !a.Of(d) {
		t.Error("the device counted a frame, yet nothing is told of it")
	}
	if a.Of(quiet) {
		t.Error("a device that counted nothing is told of")
	}
	nettest.Eventually(t, "what is past is told no more", func() bool {
		look(ktime.Now())
		return !a.Of(d)
	})
}

func TestActivityOf(t *testing.T) {
	d := netns.Device{Netns: 4321, Ifindex: 2}
	for _, c := range []struct {
		name            string
		now, window, at uint16
		want            bool
	}{
		{"now", 100, 2, 100, true},
		{"at the edge", 100, 2, 98, true},
		{"before", 100, 2, 97, false},
		{"while it was read", 100, 2, 101, true},
		{"over the wrap", 1, 3, 65535, true},
		{"long ago, over the wrap", 1, 3, 65000, false},
		{"while it was read, over the wrap", 65535, 0, 0, true},
	} {
		a := Activity{now: c.now, window: c.window}
		a.at[(4321*5+2)%activityPlaces] = c.at
		if got := a.Of(d); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
