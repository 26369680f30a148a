package slots

import (
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/clean"
	"tapwatch/internal/netns"
)

// e2bSlot is the plan of a namespace with a name such as E2B gives.
func e2bSlot() *Plan { return &Plan{Launcher: "e2b", Tap: "tap0", Assumed: true} }

// Who is at a tap is whoever holds it, then who claims it; nobody that was found is
// left out.
func TestWhoIsAtATap(t *testing.T) {
	fc, other := firecracker(11, "i1"), firecracker(12, "i2")
	stranger := process(33)
	young := stranger
	young.PID, young.Parent = 34, 11 // forked by the VMM
	for name, c := range map[string]struct {
		plan    *Plan
		claims  []VMM
		holders []VMM
		child   bool // the last holder is a child of another
		want    []string
	}{
		"nobody":                         {plan: e2bSlot(), want: []string{"ns-10/tap0 idle"}},
		"nobody's namespace":             {want: []string{"ns-10/tap0 idle"}},
		"a VMM":                          {plan: e2bSlot(), claims: []VMM{fc}, holders: []VMM{fc}, want: []string{"ns-10/tap0 i1 pid 11 yes"}},
		"a VMM that holds nothing yet":   {plan: e2bSlot(), claims: []VMM{fc}, want: []string{"ns-10/tap0 i1 pid 11 yes"}},
		"the same in nobody's namespace": {claims: []VMM{fc}, want: []string{"ns-10/tap0 i1 pid 11 yes"}},
		"a stranger":                     {plan: e2bSlot(), holders: []VMM{stranger}, want: []string{"ns-10/tap0 unidentified pid 33"}},
		"a stranger, and a VMM that wants its tap": {plan: e2bSlot(), claims: []VMM{fc}, holders: []VMM{stranger},
			want: []string{"ns-10/tap0 i1 pid 11 yes"}},
		"two VMMs for one tap": {plan: e2bSlot(), claims: []VMM{fc, other}, holders: []VMM{fc},
			want: []string{"ns-10/tap0 i1 pid 11 yes", "ns-10/tap0 i2 pid 12 yes"}},
		"a VMM and its child": {plan: e2bSlot(), claims: []VMM{fc, young}, holders: []VMM{fc, young}, child: true,
			want: []string{"ns-10/tap0 i1 pid 11 yes"}},
		"a record": {plan: recorded("i9", process(44)), holders: []VMM{process(44)}, want: []string{"ns-10/tap0 i9 pid 44 yes"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.space(10, c.plan, c.claims...)
			tap := w.tap(10, 2, "tap0", path.Known(len(c.holders) > 0))
			var hs []Holder
			for i, v := range c.holders {
				h := v.on(tap, "tap0")
				h.Inherited = c.child && i == len(c.holders)-1
				hs = append(hs, h)
			}
			w.hold(hs...)
			w.shows(name, c.want...)
		})
	}
}

// A VMM in the agent's own namespace that made a tap there by itself is shown where it
// is; the slot that it was meant for is told of it.
func TestVMMInTheHostsNamespace(t *testing.T) {
	w := newWorld(t)
	w.space(10, e2bSlot())
	w.tap(10, 2, "tap0", path.No)
	w.TakeNamespace(Namespace{Cookie: self, Name: "host", Path: "/proc/self/ns/net", Linked: true, Claims: []VMM{firecracker(11, "i1")}}, time.Now())
	w.Linked(self, time.Now())
	w.shows("claims nothing that is there", "host/tap0 i1 pid 11 yes absent", "ns-10/tap0 idle")
	d := netns.Device{Netns: self, Ifindex: 7}
	w.TakeLink(Change{Time: time.Now(), Of: d, New: &Link{IsTap: true, Device: path.Device{Name: "tap0", Ifindex: 7, Kind: "tun", Exists: path.Yes,
		AdminUp: path.Yes, Carrier: path.Yes, Persistent: path.No}}})
	w.hold(firecracker(11, "i1").on(d, "tap0"))
	w.shows("made its own", "host/tap0 i1 pid 11 yes", "ns-10/tap0 idle")
	w.judge(path.Diagnosis{State: path.Broken, Findings: []path.Finding{{Code: "vmm-misplaced"}}})
	w.Tick(1, time.Now())
	if s := w.Views()[1].Stray; s == nil || s.SandboxID != "i1" || s.PID != 11 || s.Netns != "the host's namespace" {
		t.Errorf("the idle slot knows %+v", s)
	}
}

// What becomes of a tap is known to those that want it.
func TestWhoWantsATapKnowsOfIt(t *testing.T) {
	w := newWorld(t)
	elder, younger := firecracker(11, "i1"), firecracker(12, "i2")
	w.space(10, e2bSlot(), elder, younger)
	tap := w.tap(10, 2, "tap0", path.Yes)
	w.hold(elder.on(tap, "tap0"))
	w.judge(path.Diagnosis{State: path.OK})
	if v := w.Views()[1]; v.Sandbox.ID != "i2" || len(v.Device.Holders) != 1 || v.Device.Holders[0].SandboxID != "i1" {
		t.Errorf("%s sees %+v", v.Sandbox.ID, v.Device.Holders)
	}
	w.Tick(1, time.Now())
	if n := len(w.Cases()); n != 1 {
		t.Errorf("%d are judged again as time passes, want the one that waits", n)
	}
	w.tap(10, 2, "tap0", path.No)
	if v := w.Views()[1]; v.Device.Carrier != path.No {
		t.Errorf("%s sees carrier %s", v.Sandbox.ID, v.Device.Carrier)
	}
	w.TakeExit(11, path.VMMExit{Time: time.Now(), Wanted: true}, "ended")
	w.space(10, e2bSlot(), younger)
	w.hold()
	w.Tick(2, time.Now().Add(time.Hour))
	w.space(10, e2bSlot(), younger)
	w.hold(younger.on(tap, "tap0"))
	w.shows("the younger has it", "ns-10/tap0 i2 pid 12 yes")
}

// Two VMMs of one id are two sandboxes; one that takes over keeps the id.
func TestIDsAreUnique(t *testing.T) {
	w := newWorld(t)
	var taps []netns.Device
	for c := range netns.Cookie(2) {
		w.space(10+c, e2bSlot())
		taps = append(taps, w.tap(10+c, 2, "tap0", path.Yes))
	}
	one, two := firecracker(11, "same"), firecracker(12, "same")
	w.hold(one.on(taps[0], "tap0"), two.on(taps[1], "tap0"))
	ids := map[string]bool{}
	for _, v := range w.Views() {
		ids[v.Sandbox.ID] = true
	}
	if len(ids) != 2 || !ids["same"] {
		t.Errorf("ids %v", ids)
	}
}

// A tap's owner names it: the name is made safe at the place of a VMM beside it too.
func TestNameOfATapThatTwoWant(t *testing.T) {
	const name = "tap\x1b0"
	w := newWorld(t)
	one, two := firecracker(11, "i1"), firecracker(12, "i2")
	w.space(10, &Plan{Launcher: "e2b", Tap: name, Assumed: true}, one, two)
	w.hold(one.on(w.tap(10, 2, name, path.Yes), name))
	views := w.Views()
	if len(views) != 2 {
		t.Fatalf("%d places, want that of the tap and one beside it", len(views))
	}
	for _, v := range views {
		if v.Device.Name != clean.Label(name) {
			t.Errorf("%s has the tap %q", v.Sandbox.ID, v.Device.Name)
		}
	}
}

// What the launcher of a slot starts there is no stranger, though the record that names
// it has yet to be read.
func TestOurVMMBeforeItsRecord(t *testing.T) {
	w := newWorld(t)
	idle := &Plan{Launcher: "tapwatch", Tap: "tap0", OwnerPID: 7, OwnerAlive: path.Yes}
	w.space(10, idle)
	d := w.tap(10, 2, "tap0", path.Yes)
	v := firecracker(11, "tapwatch-i1")
	v.Parent = 7
	w.hold(v.on(d, "tap0"))
	w.shows("its record is not read yet", "ns-10/tap0 idle")
	w.space(10, recorded("i1", v))
	w.shows("it is", "ns-10/tap0 i1 pid 11 yes")
	w.space(10, idle)
	w.shows("its record says no more of it", "ns-10/tap0 idle")
	for _, e := range w.events {
		if e.SandboxID == "tapwatch-i1" {
			t.Errorf("a stranger: %s", e)
		}
	}
}
