package agent

import (
	"slices"
	"testing"

	"tapwatch/agent/discover"
	"tapwatch/agent/holders"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

func TestHoldersInTheWordsOfSlots(t *testing.T) {
	slotIn := func(c netns.Cookie, name, sandbox string, pid int) *slot {
		return &slot{entry: &discover.Entry{Namespace: discover.Namespace{Cookie: c, Name: name},
			Binding: &discover.Binding{SandboxID: sandbox, VMM: proc.Process{PID: pid}}}}
	}
	one, two := slotIn(1, "ns-1", "i1", 11), slotIn(2, "ns-2", "i2", 22)
	m := &model{slots: map[netns.Cookie]*slot{1: one, 2: two}, bound: map[*slot]struct{}{one: {}, two: {}}}
	tap := netns.Device{Netns: 1, Ifindex: 3}
	got := m.holdersOf([]holders.Holder{
		{Tap: tap, PID: 11, Command: "qemu", ProcessNetns: 1},
		{Tap: tap, PID: 22, Command: "firecracker", ProcessNetns: 2}, // another slot's VMM
		{Tap: tap, PID: 33, Command: "stray", ProcessNetns: 9},
	})
	want := []path.Holder{
		{PID: 11, Command: "qemu", SameNS: true, Netns: "ns-1", SandboxID: "i1"},
		{PID: 22, Command: "firecracker", Netns: "ns-2", SandboxID: "i2"},
		{PID: 33, Command: "stray"},
	}
	if len(got) != 1 || !slices.Equal(got[tap], want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// However many taps a process has open, the slot's own and some of the others are
// told of.
func TestHeldIsBounded(t *testing.T) {
	d, err := discover.New(discover.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h := &holding{discover: d}
	s := &slot{entry: &discover.Entry{Namespace: discover.Namespace{Cookie: 1, Name: "ns-1"}}}
	var by []holders.Holder
	for c := range netns.Cookie(1000) {
		by = append(by, holders.Holder{Tap: netns.Device{Netns: 1001 - c, Ifindex: 2}, TapName: "tap0", PID: 11})
	}
	by = append(by, holders.Holder{Tap: netns.Device{Netns: 1, Ifindex: 2}, TapName: "tap0", PID: 11})
	got := h.held(s, by)
	if len(got) != heldMost+1 || got[heldMost] != (path.HeldTap{Device: "tap0", Here: true, Netns: "ns-1"}) {
		t.Errorf("%+v, want the slot's own last and %d others", got, heldMost)
	}
	if got[0].Here || got[0].Netns == "ns-1" {
		t.Errorf("%+v, want a tap elsewhere", got[0])
	}
}
