package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

// kindIs has the tap's name belong to a device of another kind.
func kindIs(kind string) func(*path.Facts) {
	return func(f *path.Facts) { f.Device.Kind = kind }
}

// byFirecracker has the VMM be a Firecracker by the name of its process.
func byFirecracker(f *path.Facts) { f.Sandbox.VMMCommand = "firecracker" }

func nobodyHolds(f *path.Facts) { f.Device.Holders = []path.Holder{} }

func TestTapWrongKind(t *testing.T) {
	tryCheck(t, tapWrongKind, []look{
		{"a tap", healthy(), "beside", nil},
		{"not known", changed(kindIs("")), "beside", nil},
		{"a veth", changed(neverAttached, kindIs("veth")), "problem", []string{
			"tap0 in ns-7 is a veth, not a tap", "ip -n ns-7 -d link show tap0", "ip -n ns-7 link del tap0; ip -n ns-7 tuntap add tap0 mode tap"}},
		{"an ifb", changed(neverAttached, kindIs("ifb")), "problem", []string{"tap0 in ns-7 is an ifb"}},
		{"in the agent's own namespace", changed(neverAttached, kindIs("dummy"), onHost), "problem", []string{"tap0 in the host's namespace is a dummy", "(ip -d link show tap0)"}},
		{"a veth that is down", changed(neverAttached, kindIs("veth"), tapIsDown), "problem", nil},
		{"while the sandbox boots", changed(neverAttached, kindIs("veth"), booting), "problem", nil},
		{"a macvtap that its VMM holds", changed(kindIs("macvtap")), "beside", nil},
		{"a macvtap that a Firecracker cannot open", changed(kindIs("macvtap"), byFirecracker, nobodyHolds), "problem", []string{"is a macvtap", "/dev/net/tun", "no process has it open"}},
		{"a macvtap that a wrapper has opened for a Firecracker", changed(kindIs("macvtap"), byFirecracker), "beside", nil},
		{"a macvtap whose holders are unknown", changed(kindIs("macvtap"), byFirecracker, func(f *path.Facts) { f.Device.Holders = nil }), "beside", nil},
		{"a macvtap that a QEMU has not opened", changed(kindIs("macvtap"), nobodyHolds), "beside", nil},
	})
	tryCheck(t, tapDown, []look{{"a veth", changed(kindIs("veth"), tapIsDown), "suppressed", []string{"tap-wrong-kind"}}})
	tryCheck(t, vmmNotAttached, []look{{"it cannot", changed(neverAttached, kindIs("veth")), "suppressed", []string{"tap-wrong-kind"}}})
	tryCheck(t, guestSilent, []look{
		{"behind no tap", changed(guestMute, kindIs("veth")), "suppressed", []string{"tap-wrong-kind"}},
		{"behind a macvtap that nobody holds", changed(guestMute, kindIs("macvtap"), nobodyHolds), "problem", []string{"tap0 has carrier, but in 59s no frame"}},
	})
}
