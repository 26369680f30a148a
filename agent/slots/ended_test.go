package slots

import (
	"testing"
	"time"

	"tapwatch/agent/path"
)

// A VMM that has ended is seen among the processes for a while yet: it gets no sandbox
// again, whether its end was wanted or not.
func TestTheDeadAreNotBoundAgain(t *testing.T) {
	for name, wanted := range map[string]bool{"as was wanted": true, "as nobody wanted": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			vmm := firecracker(70, "i1")
			w.space(4, nil, vmm)
			d := w.tap(4, 2, "tap0", path.Yes)
			w.hold(vmm.on(d, "tap0"))
			w.TakeExit(70, path.VMMExit{Time: time.Now(), Wanted: wanted, HeldTap: path.Yes}, "ended")
			w.free(d)
			w.space(4, nil, vmm) // discovery still lists it
			bound := 0
			for _, e := range w.events {
				if e.Kind == path.Bound {
					bound++
				}
			}
			if bound != 1 {
				t.Errorf("bound %d times, want once: %v", bound, w.seen())
			}
		})
	}
}

// A tap that a child of the VMM still holds is nobody's, and nobody can attach to it:
// its sandbox stays for that to be found, also where the end was wanted.
func TestWantedEndThatLeavesAHolder(t *testing.T) {
	w := newWorld(t)
	vmm, child := firecracker(70, "i1"), process(71)
	child.Parent = 70
	w.space(4, nil)
	d := w.tap(4, 2, "tap0", path.Yes)
	left := child.on(d, "tap0")
	left.Inherited = true
	w.hold(vmm.on(d, "tap0"), left)
	w.TakeExit(70, path.VMMExit{Time: time.Now(), Wanted: true, HeldTap: path.Yes}, "ended")
	left.Inherited, left.Parent = false, 1
	w.hold(left)
	w.shows("the sandbox stays", "ns-4/tap0 i1 pid 70 no")
	w.free(d)
	w.shows("and goes once the tap is free", "ns-4/tap0 idle")
}

// The kernel reports no change of the carrier of a tap that is down, so those are
// known, to be read again.
func TestTapsThatAreDown(t *testing.T) {
	w := newWorld(t)
	w.space(4, nil)
	d := w.tap(4, 2, "tap0", path.No)
	if down := w.Down(); len(down) != 0 {
		t.Errorf("%v is up", down)
	}
	w.TakeLink(Change{Time: time.Now(), Of: d, New: &Link{IsTap: true, Device: path.Device{Name: "tap0", Ifindex: 2, Exists: path.Yes, AdminUp: path.No, Carrier: path.No}}})
	if down := w.Down(); len(down) != 1 || down[0].Device != d {
		t.Errorf("down are %v, want %v", down, d)
	}
	w.away(d)
	if down := w.Down(); len(down) != 0 {
		t.Errorf("%v has gone", down)
	}
}

// How a VMM ended that the kernel does not tell of is unknown: that is an event, and no
// problem at any time.
func TestUnknownEndIsNoProblem(t *testing.T) {
	w := newWorld(t)
	vmm := firecracker(70, "i1")
	vmm.Started = time.Now().Add(-time.Hour)
	w.space(4, nil)
	d := w.tap(4, 2, "tap0", path.Yes)
	w.hold(vmm.on(d, "tap0"))
	at := w.taps[d]
	w.free(d)
	w.TakeProcess(w.Bound(nil)[0], ProcessState{Alive: path.No})
	gone := at.stay.vmm.goneSince
	for _, after := range []time.Duration{0, exitAwaited, exitAwaited + time.Millisecond} {
		if f := w.facts(at, gone.Add(after)); !f.Sandbox.Ending {
			t.Errorf("after %v: it may be a problem", after)
		}
	}
	w.Tick(1, gone.Add(exitAwaited+time.Second))
	w.shows("it has gone", "ns-4/tap0 idle")
	said := 0
	for _, e := range w.events {
		if e.Kind == path.VMMExited {
			said++
		}
	}
	if said != 1 {
		t.Errorf("its end was told %d times", said)
	}
}
