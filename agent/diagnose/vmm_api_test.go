package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

const socket = "/tmp/fc-i1-x9y8.sock"

// apiSaid has the VMM, a Firecracker, answer so.
func apiSaid(state string, interfaces ...path.VMMInterface) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Sandbox.Source = "firecracker"
		f.Sandbox.API = &path.VMMAPI{Time: secondsAgo(1), Socket: socket, State: state, Interfaces: append([]path.VMMInterface{}, interfaces...)}
	}
}

var eth0 = path.VMMInterface{ID: "eth0", Device: "tap0", GuestMAC: "02:fc:00:00:00:05"}

func apiSilent(seconds float64, gone bool) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Sandbox.API = &path.VMMAPI{Time: secondsAgo(1), Socket: socket, Error: "no answer in 1s", Gone: gone, SilentSince: secondsAgo(seconds)}
	}
}

func neighbourIs(mac string) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Device.Neighbour = &path.Neighbour{Addr: "169.254.0.21", MAC: mac, State: "PERMANENT"}
	}
}

func framesFrom(mac string) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Traffic.GuestAddr, f.Traffic.GuestMAC, f.Traffic.GuestSeen = "169.254.0.21", mac, secondsAgo(3)
	}
}

func zombie(f *path.Facts) {
	vmmDead(f)
	f.Sandbox.VMMZombie = secondsAgo(6)
}

func TestVMMNoNIC(t *testing.T) {
	tryCheck(t, vmmNoNIC, []look{
		{"it has one", changed(neverAttached, apiSaid(path.VMMRunning, eth0)), "beside", nil},
		{"it has none", changed(neverAttached, apiSaid(path.VMMRunning)), "problem", []string{"never given a network interface", "network interfaces: none", "PUT /network-interfaces/eth0"}},
		{"it was not asked", changed(neverAttached), "beside", nil},
		{"it did not answer", changed(neverAttached, apiSilent(30, false)), "beside", nil},
		{"it has ended since", changed(vmmDead, apiSaid(path.VMMRunning)), "beside", nil},
		{"while the sandbox boots", changed(neverAttached, apiSaid(path.VMMNotStarted), booting), "booting", nil},
	})
	tryCheck(t, vmmNotAttached, []look{{"for want of a NIC", changed(neverAttached, apiSaid(path.VMMRunning)), "suppressed", []string{"vmm-no-nic"}}})
	tryCheck(t, vmmOtherTap, []look{
		{"told so, who holds what is unknown", changed(neverAttached, apiSaid(path.VMMRunning, path.VMMInterface{ID: "eth0", Device: "tap1"}), func(f *path.Facts) { f.Sandbox.Holds, f.Device.Holders = nil, nil }),
			"problem", []string{"was told to use tap1, but the slot's tap is tap0", "eth0 on tap1 (guest_mac none)"}},
	})
}

func TestVMMZombie(t *testing.T) {
	tryCheck(t, vmmZombie, []look{
		{"for seconds", changed(zombie), "problem", []string{"a zombie (state Z) for 6s", "ps -o ppid= -p 4242"}},
		{"for an instant", changed(zombie, func(f *path.Facts) { f.Sandbox.VMMZombie = now }), "beside", nil},
		{"also while it boots", changed(zombie, booting), "problem", nil},
	})
	tryCheck(t, vmmExited, []look{{"a zombie", changed(zombie), "suppressed", []string{"vmm-zombie"}}})
}

// frozenBy is a VMM that the freezer of its control group holds.
func frozenBy(f *path.Facts) {
	f.Sandbox.Process = &path.VMMProcess{Cgroup: path.Cgroup{Path: "/sys/fs/cgroup/sbx/i1", Frozen: path.Yes,
		FreezerFile: "/sys/fs/cgroup/sbx/i1/cgroup.events", FreezerThaws: "echo 0 > /sys/fs/cgroup/sbx/cgroup.freeze"}}
}

// unasked is a guest that nobody has asked anything for long.
func unasked(f *path.Facts) {
	f.Traffic.LastReceive, f.Traffic.LastEnvdSYN, f.Traffic.LastEnvdSYNACK = secondsAgo(40), secondsAgo(40), secondsAgo(40)
}

// gaveUp is a client that asked for a guest, and asks no more.
func gaveUp(f *path.Facts) {
	unasked(f)
	f.Traffic.EnvdWaiting, f.Traffic.LastEnvdSYN = secondsAgo(30), secondsAgo(27)
}

func TestVMMPaused(t *testing.T) {
	said := apiSaid(path.VMMPaused, eth0)
	recorded := func(f *path.Facts) { f.Sandbox.Paused = true }
	tryCheck(t, vmmPaused, []look{
		{"runs", changed(synDropped, apiSaid(path.VMMRunning, eth0)), "beside", nil},
		{"by its API", changed(unasked, said), "paused", []string{"paused by its API; no request waits for it"}},
		{"by its record", changed(unasked, recorded), "paused", []string{"paused by its launcher"}},
		{"by its control group", changed(unasked, frozenBy), "paused", []string{"the freezer of its control group"}},
		{"a client gave up", changed(gaveUp, said), "paused", nil},
		{"requests wait", changed(synDropped, said), "problem", []string{"paused by its API, and requests wait for it", `state "Paused"`, "--unix-socket " + socket}},
		{"requests wait, by its record", changed(hung, recorded), "problem", []string{"the record that its launcher keeps of i1 says that it is paused", "resume it by the API of"}},
		{"requests wait, by its control group", changed(hung, frozenBy), "problem", []string{"cgroup.events: frozen", "let it go on: echo 0 > /sys/fs/cgroup/sbx/cgroup.freeze"}},
		{"no hooks", changed(noHooks, said), "paused", nil},
		{"the guest has sent a frame since", changed(said, func(f *path.Facts) { f.Traffic.LastReceive = now }), "beside", nil},
		{"its VMM has ended", changed(vmmDead, said), "beside", nil},
		{"stopped too", changed(synDropped, said, stopped), "suppressed", []string{"vmm-stopped"}},
		{"while the sandbox boots", changed(guestMute, said, booting), "booting", nil},
	})
	for _, c := range []Check{guestHung, envdNoAnswer} {
		tryCheck(t, c, []look{{"paused", changed(hung, said), "suppressed", []string{"vmm-paused"}}})
	}
	tryCheck(t, vmmAPISilent, []look{{"frozen, so it does not answer", changed(hung, apiSilent(30, false), frozenBy), "suppressed", []string{"vmm-paused"}}})
	for name, c := range map[string]struct {
		f    path.Facts
		want string
	}{
		"paused is neither ok nor broken":  {changed(unasked, said), "paused: ok ok ok paused unknown []"},
		"what else is broken stays broken": {changed(unasked, said, relayGone), "broken: ok broken ok paused unknown [relay-not-listening]"},
		"of what nobody sees":              {changed(noHooks, said), "paused: ok ok ok paused unknown []"},
	} {
		if got := summary(Run(c.f)); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
	tryCheck(t, vmmNotStarted, []look{
		{"not started", changed(guestMute, apiSaid(path.VMMNotStarted, eth0)), "problem", []string{"never told to start"}},
		{"not started yet", changed(guestMute, apiSaid(path.VMMNotStarted, eth0), booting), "booting", nil},
	})
	tryCheck(t, guestSilent, []look{{"not started", changed(guestMute, apiSaid(path.VMMNotStarted, eth0)), "suppressed", []string{"vmm-not-started"}}})
}

func TestVMMAPISilent(t *testing.T) {
	tryCheck(t, vmmAPISilent, []look{
		{"answers", changed(apiSaid(path.VMMRunning, eth0)), "beside", nil},
		{"for a moment", changed(apiSilent(4, false)), "beside", nil},
		{"for long, and the guest is well", changed(apiSilent(30, false)), "problem", []string{"has not answered its API for"}},
		{"for long, and so is the guest", changed(apiSilent(30, false), hung), "problem", []string{"it hangs, and its guest with it", "not answered its API for 30s"}},
		{"it answers, what nobody understands", changed(hung, func(f *path.Facts) {
			f.Sandbox.API = &path.VMMAPI{Time: secondsAgo(1), Socket: socket, Error: "not the answer of a Firecracker", Answered: true}
		}), "beside", nil},
		{"its socket is not there yet", changed(apiSilent(1, true)), "beside", nil},
		{"its socket has gone", changed(apiSilent(3, true)), "problem", []string{"its API socket is gone"}},
		{"its socket has gone, and the guest does not answer", changed(apiSilent(30, true), hung), "beside", nil},
		{"the VMM has ended", changed(apiSilent(30, true), vmmDead), "beside", nil},
	})
	tryCheck(t, guestHung, []look{
		{"the VMM hangs", changed(apiSilent(30, false), hung), "suppressed", []string{"vmm-api-silent"}},
		{"its socket has gone", changed(apiSilent(30, true), hung), "problem", nil},
	})
	if d := Run(changed(apiSilent(30, false))); d.State != path.OK {
		t.Errorf("a silent API breaks the path: %s", d.State)
	}
}

func TestGuestMACMismatch(t *testing.T) {
	other := neighbourIs("02:fc:00:00:00:77")
	tryCheck(t, guestMACMismatch, []look{
		{"the same", changed(synDropped, apiSaid(path.VMMRunning, eth0), neighbourIs(eth0.GuestMAC)), "beside", nil},
		{"another", changed(synDropped, apiSaid(path.VMMRunning, eth0), other), "problem", []string{"to the hardware address 02:fc:00:00:00:77, but the guest's NIC has 02:fc:00:00:00:05", "PERMANENT"}},
		{"another, and all is answered", changed(apiSaid(path.VMMRunning, eth0), other), "beside", nil},
		{"the guest's own choice", changed(synDropped, apiSaid(path.VMMRunning, path.VMMInterface{ID: "eth0", Device: "tap0"}), other), "beside", nil},
		{"nobody knows", changed(synDropped, other), "beside", nil},
		{"the VMM's command line knows", changed(synDropped, other, func(f *path.Facts) { f.Sandbox.VMMMACs = []string{"02:fc:00:00:00:05"} }), "problem", []string{"the command line of the VMM (pid 4242) names 02:fc:00:00:00:05"}},
		{"its frames know, and nobody asks", changed(framesFrom("02:fc:00:00:00:05"), other), "problem", []string{"the guest's own frames come from 02:fc:00:00:00:05"}},
		{"its frames know, and the entry is not for good", changed(framesFrom("02:fc:00:00:00:05"), other, func(f *path.Facts) { f.Device.Neighbour.State = "STALE" }), "beside", nil},
		{"its frames know better than the API", changed(synDropped, framesFrom("02:fc:00:00:00:77"), apiSaid(path.VMMRunning, eth0), other), "beside", nil},
		{"its frames are of another address", changed(framesFrom("02:fc:00:00:00:05"), other, func(f *path.Facts) { f.Traffic.GuestAddr = "172.17.0.2" }), "beside", nil},
		{"its frames are the last guest's", changed(framesFrom("02:fc:00:00:00:05"), other, func(f *path.Facts) { f.Traffic.GuestSeen = secondsAgo(70) }), "beside", nil},
	})
	tryCheck(t, envdNoAnswer, []look{{"another", changed(synDropped, apiSaid(path.VMMRunning, eth0), other), "suppressed", []string{"guest-mac-mismatch"}}})
}
