package probe

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/bpf"
)

// The guest's address is learned from its frames, in every mode; once it is known,
// requests for other addresses are not requests for the guest.
func TestLearnsTheGuest(t *testing.T) {
	t.Parallel()
	for _, m := range modesHere() {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			ns, d, f := tap(t)
			silence(t, ns)
			g := newGuest(t, ns, d, f)
			p := loadMode(t, m)
			if err := p.Attach(ns, d, "tap0"); err != nil {
				t.Fatal(err)
			}
			everybody := net.HardwareAddr{255, 255, 255, 255, 255, 255}
			other := [4]byte{10, 77, 0, 9}
			otherMAC := net.HardwareAddr{2, 0xfc, 0, 0, 0, 9}
			ask := func(ip [4]byte) {
				transmit(t, ns, d, ethernet(everybody, g.host, unix.ETH_P_ARP, arp(1, g.host, hostIP, make([]byte, 6), ip)))
			}
			sends := func(to net.HardwareAddr, src [4]byte) {
				g.send(ethernet(to, guestMAC, unix.ETH_P_IP, packet(src, hostIP)))
			}
			says := func(op uint16, mac net.HardwareAddr, ip, target [4]byte) {
				g.send(ethernet(everybody, mac, unix.ETH_P_ARP, arp(op, mac, ip, g.host, target)))
			}
			received := uint64(0)
			for _, step := range []struct {
				name     string
				do       func()
				frames   uint64
				addr     string
				mac      net.HardwareAddr
				requests uint64
				replies  uint64
			}{
				{"nothing known: any request counts", func() { ask(other) }, 0, "invalid IP", nil, 1, 0},
				{"no address yet, to everybody", func() { sends(everybody, guestIP); sends(g.host, [4]byte{}) }, 2, "invalid IP", nil, 1, 0},
				{"asks whether an address is free", func() { says(1, guestMAC, [4]byte{}, guestIP) }, 1, "invalid IP", nil, 1, 0},
				{"first packet", func() { sends(g.host, other) }, 1, "10.77.0.9", guestMAC, 1, 0},
				{"later packets", func() { sends(g.host, guestIP) }, 1, "10.77.0.9", guestMAC, 1, 0},
				{"announcement", func() { says(1, guestMAC, guestIP, guestIP) }, 1, "169.254.0.21", guestMAC, 1, 0},
				{"packets after ARP", func() { sends(g.host, other) }, 1, "169.254.0.21", guestMAC, 1, 0},
				{"asked for another", func() { ask(other) }, 0, "169.254.0.21", guestMAC, 1, 0},
				{"asked for it", func() { ask(guestIP) }, 0, "169.254.0.21", guestMAC, 2, 0},
				{"answers", func() { says(2, guestMAC, guestIP, hostIP) }, 1, "169.254.0.21", guestMAC, 2, 1},
				{"asks with another address", func() { says(1, otherMAC, other, hostIP) }, 1, "10.77.0.9", otherMAC, 2, 1},
				{"asked for the new one", func() { ask(guestIP); ask(other) }, 0, "10.77.0.9", otherMAC, 3, 1},
			} {
				before, err := p.Counters(d)
				if err != nil {
					t.Fatal(err)
				}
				sent := before.TransmitPackets
				step.do()
				received += step.frames
				as := func(c *Counters) bool {
					return c.GuestAddr.String() == step.addr && c.GuestMAC.String() == step.mac.String() && c.ARPRequests == step.requests && c.ARPReplies == step.replies
				}
				// A frame is counted before what it says is.
				end := time.Now().Add(10 * time.Second)
				c := eventually(t, p, d, step.name, func(c Counters) bool {
					return c.ReceivePackets >= received && (step.frames > 0 || c.TransmitPackets > sent) && (as(&c) || time.Now().After(end))
				})
				if !as(&c) {
					t.Errorf("%s: %s at %s, %d requests, %d replies; want %s at %s, %d, %d; frames to the guest: %d more", step.name, c.GuestAddr, c.GuestMAC, c.ARPRequests, c.ARPReplies,
						step.addr, step.mac, step.requests, step.replies, c.TransmitPackets-sent)
				}
			}
			// A device that is registered anew has another guest, of which nothing is known.
			if err := p.Detach(ns, d); err != nil {
				t.Fatal(err)
			}
			if err := p.Attach(ns, d, "tap0"); err != nil {
				t.Fatal(err)
			}
			ask(guestIP)
			c := eventually(t, p, d, "asked again", func(c Counters) bool { return c.TransmitPackets > 0 })
			if c.ARPRequests != 1 || c.GuestAddr.IsValid() {
				t.Errorf("registered anew: %d requests, guest %s", c.ARPRequests, c.GuestAddr)
			}
		})
	}
}

// packet is an IPv4 packet that nobody answers, an echo reply: of an answer the kernel
// would ask for the guest by ARP, and again a second later.
func packet(src, dst [4]byte) []byte {
	ip := []byte{0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, unix.IPPROTO_ICMP, 0, 0}
	ip = append(append(ip, src[:]...), dst[:]...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	icmp := make([]byte, 8)
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	return append(ip, icmp...)
}

// CPUs saw different frames.
func TestLearnsFromAllCPUs(t *testing.T) {
	addr := func(last byte) uint32 { return binary.NativeEndian.Uint32([]byte{10, 0, 0, last}) }
	ipv4 := func(last byte, seen uint64) bpf.TapStats { return bpf.TapStats{GuestAddr: addr(last), GuestSeen: seen} }
	byARP := func(last byte, seen uint64) bpf.TapStats {
		return bpf.TapStats{GuestAddr: addr(last), GuestSeen: seen, GuestByArp: 1}
	}
	for name, c := range map[string]struct {
		cpus []bpf.TapStats
		want string
	}{
		"nothing":                {[]bpf.TapStats{{}, {}}, ""},
		"one":                    {[]bpf.TapStats{{}, ipv4(1, 5), {}}, "10.0.0.1"},
		"the first packet":       {[]bpf.TapStats{ipv4(1, 5), ipv4(2, 4), ipv4(3, 6)}, "10.0.0.2"},
		"ARP before packets":     {[]bpf.TapStats{ipv4(1, 5), byARP(2, 9), ipv4(3, 1)}, "10.0.0.2"},
		"the last ARP message":   {[]bpf.TapStats{byARP(1, 5), byARP(2, 9), byARP(3, 7)}, "10.0.0.2"},
		"ARP, and packets after": {[]bpf.TapStats{byARP(1, 5), ipv4(2, 9)}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			var want netip.Addr
			if c.want != "" {
				want = netip.MustParseAddr(c.want)
			}
			if got := sum(c.cpus).GuestAddr; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}
