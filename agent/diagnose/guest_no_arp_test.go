package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

// wrongAddress is a guest that sends frames and leaves ARP for its address alone.
func wrongAddress(f *path.Facts) {
	*f.Traffic = path.Traffic{
		ReceivePackets: 6, TransmitPackets: 12, ARPRequests: 5, LastReceive: secondsAgo(1),
		LastARPRequest: secondsAgo(0.2), ARPWaiting: secondsAgo(6.2),
	}
}

func speaking(addr string) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Traffic.GuestAddr, f.Traffic.GuestMAC, f.Traffic.GuestSeen = addr, "02:fc:00:00:00:05", secondsAgo(3)
	}
}

func arpFailed(f *path.Facts) {
	f.Device.Neighbour = &path.Neighbour{Addr: "169.254.0.21", State: "FAILED"}
}

func TestGuestNoARP(t *testing.T) {
	learned := func(f *path.Facts) { f.Traffic.SYNACKs, f.Traffic.LastEnvdSYNACK = 1, secondsAgo(1) }
	refused := func(f *path.Facts) { f.Traffic.SYNsRefused, f.Traffic.LastEnvdRefused = 1, secondsAgo(1) }
	tryCheck(t, guestNoARP, []look{
		{"answers", healthy(), "ok", []string{"last frame 2s ago"}},
		{"no answer", changed(wrongAddress), "problem", []string{
			"has not answered ARP for 169.254.0.21 for 6.2s", "for 169.254.0.21 by ARP 5 times, and answered 0 times; it has not answered for 6.2s",
			"the guest's last frame of any kind: 1s ago", "by ip= in its kernel's arguments",
		}},
		{"answered once, hangs now", changed(func(f *path.Facts) {
			f.Traffic.LastReceive, f.Traffic.LastEnvdSYNACK, f.Traffic.ARPWaiting = secondsAgo(40), secondsAgo(40), secondsAgo(30)
		}), "suppressed", []string{"guest-hung"}},
		{"asked just now", changed(wrongAddress, func(f *path.Facts) { f.Traffic.ARPWaiting = secondsAgo(1.4) }), "ok", nil},
		// The host has the MAC from the guest's own ARP request and does not ask again.
		{"no answer to ARP, but to a SYN since", changed(wrongAddress, learned), "ok", nil},
		{"no answer to ARP, but a RST since", changed(wrongAddress, refused), "ok", nil},
		{"answered a SYN before", changed(wrongAddress, func(f *path.Facts) { f.Traffic.LastEnvdSYNACK = secondsAgo(7) }), "problem", nil},
		{"asked for another", changed(wrongAddress, func(f *path.Facts) { f.Device.Neighbour = &path.Neighbour{Addr: "169.254.0.21", State: "none"} }), "ok", nil},
		{"it says which it has", changed(speaking("169.254.0.25"), arpFailed), "problem", []string{"has the address 169.254.0.25, not 169.254.0.21", "has no hardware address for 169.254.0.21 (ip neigh: FAILED)"}},
		{"a second address of its own", changed(speaking("172.17.0.2")), "ok", nil},
		{"it was the last guest's", changed(speaking("169.254.0.25"), arpFailed, func(f *path.Facts) { f.Traffic.GuestSeen = secondsAgo(70) }), "ok", nil},
		{"never heard", changed(guestMute), "beside", nil},
		{"no hooks", changed(noHooks), "beside", nil},
		{"behind NO-CARRIER", changed(wrongAddress, noCarrierThere, func(f *path.Facts) { f.Device.Since = secondsAgo(59) }),
			"suppressed", []string{"vmm-not-attached"}},
		{"while the sandbox boots", changed(wrongAddress, booting), "booting", nil},
	})
}
