package diagnose

import (
	"testing"
	"time"

	"tapwatch/agent/path"
)

func TestGuestSilent(t *testing.T) {
	// A reused slot: what the hooks saw last is of the sandbox before.
	reused := func(f *path.Facts) {
		guestMute(f)
		f.Device.Since = secondsAgo(20)
		f.Traffic.ReceivePackets, f.Traffic.LastReceive = 900, secondsAgo(300)
	}
	synOnly := func(f *path.Facts) {
		f.Traffic.ARPWaiting = time.Time{}
		f.Traffic.LastEnvdSYN, f.Traffic.EnvdWaiting = secondsAgo(0.4), secondsAgo(3.4)
	}
	attached := func(s float64) func(*path.Facts) {
		return func(f *path.Facts) { f.Device.Since = secondsAgo(s) }
	}
	waits := func(first, last float64) func(*path.Facts) {
		return func(f *path.Facts) {
			f.Traffic.ARPWaiting, f.Traffic.LastARPRequest = secondsAgo(first), secondsAgo(last)
		}
	}
	tryCheck(t, guestSilent, []look{
		{"heard", healthy(), "beside", nil},
		{"mute", changed(guestMute), "problem", []string{
			"the guest is silent", "frames from the guest: 0 (the last: never); frames to it: 9",
			"for 169.254.0.21 by ARP 4 times, and answered 0 times; it has not answered for 4.2s",
			"tap0 has carrier, held by qemu-system-x86 (pid 4242), since 03:03:06.000 (59s ago)", "virtio_net", "sandbox logs i1",
		}},
		{"mute in a reused slot", changed(reused), "problem", []string{"frames from the guest: 900 (the last: 5m0s ago)"}},
		{"the host still knows the neighbour and sends SYNs", changed(reused, synOnly), "problem", []string{"the guest has left connections (SYNs) to envd's port unanswered for 3.4s"}},
		{"mute, nobody asked", changed(guestMute, func(f *path.Facts) { f.Traffic.ARPWaiting = time.Time{} }), "unknown", []string{"nothing has waited long"}},
		{"mute, asked just now", changed(guestMute, waits(1.5, 0.5)), "unknown", nil},
		{"asked a while ago, attached just now", changed(guestMute, waits(60, 0.1), attached(1.2)), "unknown", nil},
		{"asked before the attach and since", changed(guestMute, waits(60, 0.1), attached(10)), "problem", []string{"has not answered for 10s"}},
		{"asked before the attach only", changed(guestMute, waits(60, 58), attached(10)), "unknown", nil},
		{"the slot's last sandbox answered in between", changed(reused, waits(320, 0.1), func(f *path.Facts) { f.Traffic.LastEnvdSYNACK = secondsAgo(300) }),
			"problem", []string{"has not answered for 20s"}},
		{"attached before the agent started", changed(guestMute, attached(0), func(f *path.Facts) { f.Device.Since = time.Time{} }), "problem", nil},
		{"mute, carrier unknown", changed(guestMute, func(f *path.Facts) { f.Device.Carrier = path.Unknown }), "unknown", []string{"carrier is unknown"}},
		{"no hooks", changed(noHooks), "unknown", []string{"no hooks"}},
		{"behind a dead VMM", changed(guestMute, vmmDead, attached(59)), "unknown", nil},
		{"behind a tap that is down", changed(guestMute, tapIsDown), "suppressed", []string{"tap-down"}},
		{"while the sandbox boots", changed(guestMute, booting), "booting", []string{"the guest is silent"}},
	})
}
