package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

// onHost has the path's namespace be the agent's own.
func onHost(f *path.Facts) { f.Netns, f.Host = "host", true }

// ofE2B has the sandbox be one of E2B's orchestrator.
func ofE2B(f *path.Facts) {
	f.Sandbox.Source, f.Sandbox.Foreign, f.Sandbox.Shape, f.Sandbox.VMMCommand = "e2b", true, "", "firecracker"
	f.Launcher = "e2b"
	f.Inside.MissingDNAT = path.No
}

// ownTap is a tap that its VMM made by itself.
func ownTap(f *path.Facts) {
	f.Device.Persistent, f.Inside.TapAddrs = path.No, []string{}
	f.Device.AdminUp, f.Device.Addr = path.No, ""
	f.Inside.ToGuest, f.Inside.FromGuest = path.Route{}, path.Route{}
	f.Device.Holders = []path.Holder{{PID: 4242, Command: "firecracker", SameNS: true}}
}

// misplaced is a VMM of E2B's in a namespace that is no slot.
func misplaced(f *path.Facts) {
	ofE2B(f)
	ownTap(f)
	f.Netns, f.Launcher = "ns-lost", ""
	f.Relay, f.Veth = path.Listener{}, path.Veth{}
	f.Sandbox.Holds = []path.HeldTap{{Netns: "ns-lost", Device: "tap0", Here: true}}
}

func TestVMMMisplaced(t *testing.T) {
	with := func(change func(*path.Facts)) path.Facts { return changed(misplaced, change) }
	tryCheck(t, vmmMisplaced, []look{
		{"in its slot", changed(ofE2B), "beside", nil},
		{"where nothing leads to", changed(misplaced), "problem", []string{
			"the VMM (pid 4242) runs in ns-lost and made tap0 there by itself", "not persistent", "no record and no name says that ns-lost is a slot"}},
		{"in the host's namespace", changed(misplaced, onHost), "problem", []string{"runs in the host's namespace and made tap0 there"}},
		{"while it boots", changed(misplaced, booting), "problem", nil},
		{"in a slot, with a tap of its own", with(func(f *path.Facts) { f.Launcher = "e2b" }), "beside", nil},
		{"the tap outlives it", with(func(f *path.Facts) { f.Device.Persistent = path.Yes }), "beside", nil},
		{"not known whether it does", with(func(f *path.Facts) { f.Device.Persistent = path.Unknown }), "beside", nil},
		{"the tap has an address", with(func(f *path.Facts) { f.Inside.TapAddrs = []string{"10.0.0.1/24"} }), "beside", nil},
		{"its addresses were not read", with(func(f *path.Facts) { f.Inside.TapAddrs = nil }), "beside", nil},
		{"the tap is on a bridge", with(func(f *path.Facts) { f.Device.Bridge = "br0" }), "beside", nil},
		{"of another launcher, which may want it so", with(func(f *path.Facts) { f.Sandbox.Source = "libvirt" }), "beside", nil},
		{"it has ended, and the tap with it", changed(misplaced, goneWithVMM), "beside", nil},
	})
	tryCheck(t, tapDown, []look{{"nobody set it up", changed(misplaced), "suppressed", []string{"vmm-misplaced"}}})
}

func TestVMMThatMadeItsOwnTap(t *testing.T) {
	own := func(f *path.Facts) {
		ofE2B(f)
		ownTap(f)
		f.Device.Elsewhere = []string{"ns-lost"}
	}
	with := func(change func(*path.Facts)) path.Facts { return changed(own, change) }
	tryCheck(t, tapElsewhere, []look{
		{"its own, and the slot's is elsewhere", changed(own), "problem", []string{
			"the slot's tap0 was made in ns-lost", "the VMM (pid 4242) did not find it in ns-7 and made one of its own",
			"a persistent tap0, which nobody holds, is in ns-lost", "ip -n ns-7 tuntap add tap0 mode tap"}},
		{"its own, and there is no other", with(func(f *path.Facts) { f.Device.Elsewhere = nil }), "beside", nil},
		{"its own, with an address", with(func(f *path.Facts) { f.Inside.TapAddrs = []string{"169.254.0.22/30"} }), "beside", nil},
		{"its own, on a bridge", with(func(f *path.Facts) { f.Device.Bridge = "br0" }), "beside", nil},
		{"the slot's", with(func(f *path.Facts) { f.Device.Persistent = path.Yes }), "beside", nil},
		{"the VMM does not hold it", with(func(f *path.Facts) { f.Sandbox.Holds = []path.HeldTap{} }), "beside", nil},
		{"while the sandbox boots", changed(own, booting), "problem", nil},
		{"its own, where no slot is", with(func(f *path.Facts) { f.Launcher = "" }), "beside", nil},
	})
	tryCheck(t, tapDown, []look{{"its own, which nobody set up", changed(own), "suppressed", []string{"tap-elsewhere"}}})
	if d := Run(changed(own)); len(d.Findings) != 1 || d.BrokenAt() != path.Tap {
		t.Errorf("its own tap alone: %s", summary(d))
	}
	tryCheck(t, tapElsewhere, []look{
		{"moved to the host's namespace", changed(tapMoved, func(f *path.Facts) { f.Sandbox.Holds[0].Netns = "host" }), "problem",
			[]string{"the VMM's tap is tap0 in the host's namespace", "(ip link set tap0 netns ns-7,"}},
	})
}
