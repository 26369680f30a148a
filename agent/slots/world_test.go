package slots

import (
	"fmt"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// world is a state with what it told its surroundings.
type world struct {
	*Slots
	t      *testing.T
	events []path.Event
	asked  map[Work]int
	downs  map[netns.Device]uint32 // losses of carrier
}

// self is the agent's own namespace.
const self netns.Cookie = 1

func newWorld(t *testing.T) *world {
	w := &world{t: t, asked: map[Work]int{}, downs: map[netns.Device]uint32{}}
	w.Slots = New(Config{
		Self: self, Publish: func(e path.Event) { w.events = append(w.events, e) }, Boot: func(string, *path.Boot) {},
		Ask: func(k Work, _ ...Key) { w.asked[k]++ }, Grace: 10 * time.Second,
	})
	return w
}

// space makes a namespace or changes it: the name is ns- and its number.
func (w *world) space(c netns.Cookie, p *Plan, claims ...VMM) {
	w.t.Helper()
	w.TakeNamespace(Namespace{Cookie: c, Name: fmt.Sprintf("ns-%d", c), Path: "/proc/self/ns/net", Linked: true, Plan: p, Claims: claims}, time.Now())
	w.Linked(c, time.Now())
}

// tap makes a tap or changes it, and returns who it is.
func (w *world) tap(c netns.Cookie, i netns.Ifindex, name string, carrier path.Tristate) netns.Device {
	w.t.Helper()
	d := netns.Device{Netns: c, Ifindex: i}
	if p := w.taps[d]; p != nil && p.device.Carrier == path.Yes && carrier == path.No {
		w.downs[d]++
	}
	w.TakeLink(Change{Time: time.Now(), Of: d, New: &Link{IsTap: true, Device: path.Device{
		Name: name, Ifindex: i, Kind: "tun", Exists: path.Yes, AdminUp: path.Yes, Carrier: carrier, Persistent: path.Yes, Downs: w.downs[d]}}})
	return d
}

// free has nobody hold a tap.
func (w *world) free(d netns.Device) {
	w.t.Helper()
	w.tap(d.Netns, d.Ifindex, w.taps[d].device.Name, path.No)
	w.hold()
}

// away takes a tap away.
func (w *world) away(d netns.Device) {
	w.t.Helper()
	w.TakeLink(Change{Time: time.Now(), Of: d})
}

// hold says who holds which tap: all that do.
func (w *world) hold(all ...Holder) { w.TakeHolders(w.Taps(), all, true) }

// process is one that no rule knows.
func process(pid int) VMM {
	return VMM{Process: Process{PID: pid, Start: uint64(pid)}, Started: time.Now().Add(-time.Hour), Command: fmt.Sprintf("proc%d", pid), Parent: 1}
}

// firecracker is a VMM of that sandbox.
func firecracker(pid int, id string) VMM {
	v := process(pid)
	v.Command = "firecracker"
	v.Identity = Identity{SandboxID: id, Launcher: "e2b", Tap: "tap0"}
	return v
}

// on says that a process holds a tap from inside its namespace.
func (v VMM) on(d netns.Device, tap string) Holder {
	return Holder{VMM: v, Device: d, Tap: tap, In: d.Netns}
}

// recorded is the plan of a slot of our launcher with a sandbox that runs.
func recorded(id string, v VMM) *Plan {
	return &Plan{Launcher: "tapwatch", Tap: "tap0", OwnerPID: 7, OwnerAlive: path.Yes, Sandbox: &Recorded{
		Identity: Identity{SandboxID: id, Launcher: "tapwatch", Tap: "tap0"}, State: registry.Running, Shape: registry.Relay,
		Created: time.Now().Add(-time.Hour), VMM: v.Process, VMMAlive: path.Yes}}
}

// judge judges what is due, all with one verdict, which facts that are read anew bear out.
func (w *world) judge(d path.Diagnosis) {
	for cases := w.Cases(); len(cases) > 0; cases = w.Cases() {
		for _, c := range cases {
			if again := w.TakeVerdict(c, d, false); again != nil {
				w.Confirm(*again)
			}
		}
	}
}

// seen is every place in a line: its namespace, its tap, the sandbox and its VMM, and
// the state where there is no sandbox.
func (w *world) seen() (all []string) {
	for _, v := range w.Views() {
		line := v.Netns + "/" + v.Device.Name
		switch {
		case v.Sandbox != nil:
			line += fmt.Sprintf(" %s pid %d %s", v.Sandbox.ID, v.Sandbox.VMMPID, v.Sandbox.VMMAlive)
		case v.Diagnosis.State == path.Unidentified:
			line += fmt.Sprintf(" unidentified pid %d", v.Unidentified.PID)
		default:
			line += " " + string(v.Diagnosis.State)
		}
		if v.Device.Exists != path.Yes {
			line += " absent"
		}
		all = append(all, line)
	}
	return all
}

// shows compares what is seen.
func (w *world) shows(what string, want ...string) {
	w.t.Helper()
	if got := w.seen(); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("%s:\n got  %q\n want %q", what, got, want)
	}
}
