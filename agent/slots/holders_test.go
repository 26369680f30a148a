package slots

import (
	"net/netip"
	"slices"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

var guest = netip.MustParseAddr("169.254.0.21")

// Holders are shown with the names of their namespaces and with the sandboxes whose
// VMMs they are.
func TestHoldersInTheWordsOfSlots(t *testing.T) {
	w := newWorld(t)
	one, two, stray := process(11), process(22), process(33)
	for c, v := range map[netns.Cookie]VMM{10: one, 20: two} {
		w.space(c, recorded(map[netns.Cookie]string{10: "i1", 20: "i2"}[c], v))
		w.tap(c, 3, "tap0", path.Yes)
	}
	tap := netns.Device{Netns: 10, Ifindex: 3}
	other, far := two.on(tap, "tap0"), stray.on(tap, "tap0")
	other.In, far.In = 20, 99
	w.hold(one.on(tap, "tap0"), other, far)
	want := []path.Holder{
		{PID: 11, Command: "proc11", SameNS: true, Netns: "ns-10", SandboxID: "i1"},
		{PID: 22, Command: "proc22", Netns: "ns-20", SandboxID: "i2"}, // another slot's VMM
		{PID: 33, Command: "proc33"},
	}
	if got := w.Views()[0].Device.Holders; !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := w.Views()[1].Device.Holders; got == nil || len(got) != 0 {
		t.Errorf("the other tap is held by %+v", got)
	}
	w.TakeHolders(w.Taps(), nil, false)
	if got := w.Views()[0].Device.Holders; got != nil {
		t.Errorf("what could not be read is %+v", got)
	}
}

// However many taps a process has open, the slot's own and some of the others are
// told of.
func TestHeldIsBounded(t *testing.T) {
	w := newWorld(t)
	v := process(11)
	w.space(10, recorded("i1", v))
	own := w.tap(10, 2, "tap0", path.Yes)
	var by []Holder
	for c := range netns.Cookie(1000) {
		by = append(by, v.on(netns.Device{Netns: 2001 - c, Ifindex: 2}, "tap0"))
	}
	w.hold(append(by, v.on(own, "tap0"))...)
	got := w.Views()[0].Sandbox.Holds
	if len(got) != heldMost+1 || got[heldMost] != (path.HeldTap{Device: "tap0", Here: true, Netns: "ns-10"}) {
		t.Errorf("%+v, want the slot's own last and %d others", got, heldMost)
	}
	if got[0].Here || got[0].Netns == "ns-10" {
		t.Errorf("%+v, want a tap elsewhere", got[0])
	}
}

// A tap with carrier is held: where nobody knows by whom it is not idle.
func TestStateOfAnEmptyTap(t *testing.T) {
	if got := path.Empty(&path.Device{Carrier: path.Yes}); got != path.Undecided {
		t.Errorf("carrier, and nobody knows who holds it: %s", got)
	}
	for _, d := range []path.Device{{Carrier: path.No}, {}, {Carrier: path.Yes, Holders: []path.Holder{}}} {
		if got := path.Empty(&d); got != path.Idle {
			t.Errorf("%+v: %s", d, got)
		}
	}
}
