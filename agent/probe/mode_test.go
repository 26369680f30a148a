package probe

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

func loadMode(t *testing.T, m Mode) *Probe {
	t.Helper()
	nettest.NeedRoot(t)
	p, err := Load(Config{HooksDir: t.TempDir() + "/hooks", Mode: m})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// modesHere are the modes of this kernel: TCX came with 6.6.
func modesHere() []Mode {
	if haveTCX() != nil {
		return []Mode{ModeTC, ModeTracepoint}
	}
	return realModes
}

// The ways to see a frame count one and the same traffic alike, to the
// byte: all are on one tap at once.
func TestModesCountAlike(t *testing.T) {
	t.Parallel()
	ns, d, f := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, f)
	probes := map[Mode]*Probe{}
	for _, m := range modesHere() {
		probes[m] = loadMode(t, m)
		if err := probes[m].Attach(ns, d, "tap0"); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (all map[Mode]Counters) {
		all = map[Mode]Counters{}
		for m, p := range probes {
			c, err := p.Counters(d)
			if err != nil {
				t.Fatal(err)
			}
			all[m] = timeless(c)
		}
		return all
	}
	var before Counters
	for _, tt := range []struct {
		name string
		do   func()
		want func(was, is Counters) bool
	}{
		{"ARP asked", func() {
			transmit(t, ns, d, ethernet(guestMAC, g.host, unix.ETH_P_ARP, arp(1, g.host, hostIP, guestMAC, guestIP)))
		},
			func(was, is Counters) bool { return is.ARPRequests == was.ARPRequests+1 }},
		{"ARP answered", func() { g.send(ethernet(g.host, guestMAC, unix.ETH_P_ARP, arp(2, guestMAC, guestIP, g.host, hostIP))) },
			func(was, is Counters) bool { return is.ARPReplies == was.ARPReplies+1 }},
		{"connection and data", func() {
			fd, next := g.dial(ns, 49983)
			t.Cleanup(func() { unix.Close(fd) })
			next.data, next.flags = "hello", flagACK|flagPSH
			g.sendTCP(next)
			if _, err := unix.Write(fd, make([]byte, 5000)); err != nil { // more than one frame
				t.Fatal(err)
			}
		}, func(was, is Counters) bool {
			return is.SYNACKs == was.SYNACKs+1 && is.TransmitBytes > was.TransmitBytes+5000
		}},
		{"refused", func() {
			connect(t, ns, 81)
			s := g.syn(81)
			g.sendTCP(s.reply(flagRST|flagACK, 0))
		}, func(was, is Counters) bool {
			return is.SYNsRefused == was.SYNsRefused+1 && is.Resets[ResetByGuest] == was.Resets[ResetByGuest]+1
		}},
		{"reset by a socket", func() {
			fd, _ := g.dial(ns, 82)
			abort(t, fd)
		}, func(was, is Counters) bool { return is.Resets[ResetByRelay] == was.Resets[ResetByRelay]+1 }},
		{"reset for want of a socket", func() {
			g.sendTCP(segment{src: guestIP, dst: hostIP, sport: 5, dport: 6, seq: 7, ack: 8, flags: flagACK})
		}, func(was, is Counters) bool { return is.Resets[ResetByKernel] == was.Resets[ResetByKernel]+1 }},
		{"reset passed on", func() {
			forwardBack(t, ns, d)
			g.sendTCP(segment{src: guestIP, dst: [4]byte{192, 0, 2, 1}, sport: 5, dport: 6, seq: 7, flags: flagRST})
		}, func(was, is Counters) bool {
			return is.Resets[ResetByOthers] == was.Resets[ResetByOthers]+1 && is.Resets[ResetByGuest] == was.Resets[ResetByGuest]+1
		}},
		{"SYN without answer", func() {
			connect(t, ns, 83)
			g.syn(83)
			g.syn(83) // again, after a second
		}, func(was, is Counters) bool {
			return is.SYNs == was.SYNs+1 && is.SYNsUnanswered == was.SYNsUnanswered+1 && is.SYNRetransmits > was.SYNRetransmits
		}},
		{"IPv6 from the guest", func() { g.send(ethernet(g.host, guestMAC, unix.ETH_P_IPV6, ipv6())) },
			func(was, is Counters) bool {
				return is.ReceivePackets == was.ReceivePackets+1 && is.ReceiveBytes == was.ReceiveBytes+62
			}},
		{"IPv6 to the guest", func() { transmit(t, ns, d, ethernet(guestMAC, g.host, unix.ETH_P_IPV6, ipv6())) },
			func(was, is Counters) bool {
				return is.TransmitPackets > was.TransmitPackets && is.TransmitBytes >= was.TransmitBytes+62
			}},
	} {
		before = read()[ModeTC]
		tt.do()
		var all map[Mode]Counters
		alike := func() bool {
			all = read()
			for _, c := range all {
				if c != all[ModeTC] {
					return false
				}
			}
			return tt.want(before, all[ModeTC])
		}
		for end := time.Now().Add(time.Minute); !alike(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: before %+v\nnow %+v", tt.name, before, all)
			}
		}
	}
}

// timeless leaves out what the moment of counting decides.
func timeless(c Counters) Counters {
	var observed uint64
	for _, n := range c.Latency {
		observed += n
	}
	c.Latency, c.LatencySum = [LatencyBuckets]uint64{observed}, 0
	c.Created, c.LastReceive, c.LastARPRequest, c.LastARPReply, c.GuestSeen = 0, 0, 0, 0, 0
	c.FirstReceive, c.FirstARPReply, c.FirstEnvdSYNACK = 0, 0, 0
	c.LastEnvdSYN, c.LastEnvdSYNACK, c.LastEnvdRefused, c.LastPortRefused = 0, 0, 0, 0
	return c
}

// abort closes a connection with a reset.
func abort(t *testing.T, fd int) {
	t.Helper()
	err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		t.Fatal(err)
	}
}

// forwardBack makes the namespace send what the guest sends to 192.0.2.1 back to it.
func forwardBack(t *testing.T, ns string, d netns.Device) {
	t.Helper()
	nettest.In(t, ns, func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
			return err
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/send_redirects", []byte("0"), 0o644); err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{LinkIndex: int(d.Ifindex), Dst: netlink.NewIPNet([]byte{192, 0, 2, 1}), Gw: guestIP[:]})
	})
}

// A device on which clsact cannot stand, or cannot be first, is seen in the next
// best mode, and the rest stays as it was; a mode that was asked for stays.
func TestAutoFallsBack(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		occupy func(t *testing.T, ns string, d netns.Device)
		err    error
	}{
		"ingress qdisc":     {ingressQdisc, ErrIngressQdisc},
		"u32 at priority 1": {foreignU32, ErrPriorityTaken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns, d, f := tap(t)
			silence(t, ns)
			g := newGuest(t, ns, d, f)
			tt.occupy(t, ns, d)
			q, fs := atDevice(t, ns, d)
			if err := loadMode(t, ModeTC).Attach(ns, d, "tap0"); !errors.Is(err, tt.err) {
				t.Errorf("tc: %v, want %v", err, tt.err)
			}
			for _, want := range modesHere()[1:] {
				p := loadMode(t, ModeAuto)
				if want == ModeTracepoint {
					p.fallbacks = []Mode{ModeTracepoint} // as where there is no TCX
				}
				if err := p.Attach(ns, d, "tap0"); err != nil {
					t.Fatal(err)
				}
				if s := p.Stats(); s[want].Attached != 1 || len(s) != 1 {
					t.Errorf("attached: %+v, want one by %s", s, want)
				}
				g.send(ethernet(g.host, guestMAC, unix.ETH_P_IPV6, ipv6()))
				transmit(t, ns, d, ethernet(guestMAC, g.host, unix.ETH_P_IPV6, ipv6()))
				eventually(t, p, d, "both seen", func(c Counters) bool { return c.ReceivePackets == 1 && c.TransmitPackets == 1 })
				if err := p.Detach(ns, d); err != nil {
					t.Fatal(err)
				}
				if _, err := p.Counters(d); !errors.Is(err, ErrNotAttached) {
					t.Errorf("detached: %v", err)
				}
			}
			qNow, fNow := atDevice(t, ns, d)
			equal(t, "foreign qdiscs", qNow, q...)
			equal(t, "foreign filters", fNow, fs...)
		})
	}
}

func ingressQdisc(t *testing.T, ns string, d netns.Device) {
	t.Helper()
	nettest.In(t, ns, func() error {
		return netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: int(d.Ifindex), Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}})
	})
}

// foreignU32 takes priority 1 of both directions and passes everything.
func foreignU32(t *testing.T, ns string, d netns.Device) {
	t.Helper()
	nettest.In(t, ns, func() error {
		if err := netlink.QdiscAdd(clsact(d)); err != nil {
			return err
		}
		for _, dir := range directions {
			err := netlink.FilterAdd(&netlink.U32{ // without a selector it matches everything
				FilterAttrs: netlink.FilterAttrs{LinkIndex: int(d.Ifindex), Parent: dir.parent, Priority: 1, Protocol: unix.ETH_P_ALL},
				ClassId:     netlink.MakeHandle(1, 1),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// A device is counted once, whichever mode saw it before.
func TestChangeOfMode(t *testing.T) {
	t.Parallel()
	ns, d, f := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, f)
	dir := t.TempDir() + "/hooks"
	modes := []Mode{ModeTC, ModeTracepoint, ModeTC}
	if haveTCX() == nil {
		modes = append(modes, ModeTCX, ModeTC)
	}
	for i, m := range modes {
		p, err := Load(Config{HooksDir: dir, Mode: m})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Attach(ns, d, "tap0"); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			g.send(ethernet(g.host, guestMAC, unix.ETH_P_IPV6, ipv6()))
		}
		eventually(t, p, d, fmt.Sprintf("step %d, %s: 10 frames", i, m), func(c Counters) bool { return c.ReceivePackets == 10 })
		if err := p.Close(); err != nil { // as killed
			t.Fatal(err)
		}
	}
}

func TestUnknownMode(t *testing.T) {
	if _, err := Load(Config{Mode: "xdp"}); !errors.Is(err, ErrUnknownMode) {
		t.Errorf("got %v, want ErrUnknownMode", err)
	}
}
