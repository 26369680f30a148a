package scale

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"tapwatch/agent/filter"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
)

// The rules by which our own launcher confines its guests let everything pass that a
// path needs, and no part of them is beyond the judge. What a guest is not to reach is
// known to be dropped.
func TestRulesOfOurLauncher(t *testing.T) {
	nettest.NeedRoot(t)
	p, err := network.NewPool(network.PoolConfig{Registry: registry.Dir(t.TempDir()), First: 20000 + rand.IntN(12000)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := p.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mac, err := net.ParseMAC(s.GuestMAC())
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom
	fromGuest := func(packets []filter.Packet) []filter.Packet {
		for i := range packets {
			if packets[i].In == s.Tap() {
				packets[i].MAC = mac
			}
		}
		return packets
	}
	passes := func(what, ns string, packets []filter.Packet) {
		t.Helper()
		f, _, err := filter.ReadRules(ns, packets, nil)
		if ns == "" { // the host's
			var rules *filter.Rules
			if rules, err = filter.Read(); err == nil {
				f = rules.Judge(packets)
			}
		}
		if err != nil || len(f.Drops)+len(f.Partly)+len(f.NotJudged)+len(f.Redirects) > 0 {
			t.Errorf("%s: %+v, %v", what, f, err)
		}
	}
	relay := filter.Exchange{Asks: "what the relay sends", Answers: "what the guest answers", Out: s.Tap(), From: at(s.TapIP(), 0), To: at(s.GuestIP(), 49983)}
	passes("relay", s.Netns(), fromGuest(append(relay.Packets(), filter.ARP(s.Tap(), "", s.GuestIP(), s.TapIP())...)))
	proxy := filter.Exchange{Asks: "what the proxy sends", Answers: "what it is answered", Out: s.HostVeth(), From: at(s.VethIP(), 0), To: at(s.VpeerIP(), 49983)}
	passes("host", "", proxy.Packets())

	forged := fromGuest(relay.Packets())[2:]
	forged[0].MAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	stranger := filter.Packet{What: "what the guest begins", In: s.Tap(), From: at(s.GuestIP(), 0), To: at(s.VpeerIP(), 49983), Opens: true, MAC: mac}
	if f, _, err := filter.ReadRules(s.Netns(), []filter.Packet{stranger, forged[0]}, nil); err != nil || len(f.Drops) != 2 {
		t.Errorf("what is to be dropped: %+v, %v", f, err)
	}

	out := filter.Packet{What: "what the guest sends outside", In: s.Tap(), Out: "eth0", From: at(s.GuestIP(), 0), To: at(netip.MustParseAddr("203.0.113.1"), 443), Opens: true, MAC: mac}
	for _, internet := range []bool{true, false} {
		if err := network.EnableDNAT(s, internet); err != nil {
			t.Fatal(err)
		}
		dnat := filter.Exchange{Asks: "what is forwarded", Answers: "what the guest answers", In: "eth0", Out: s.Tap(), From: at(s.VethIP(), 0), To: at(s.GuestIP(), 49983), Public: at(s.HostIP(), 49983)}
		passes("dnat", s.Netns(), fromGuest(dnat.Packets()))
		f, _, err := filter.ReadRules(s.Netns(), []filter.Packet{out}, nil)
		if err != nil || len(f.Drops) == 0 != internet || len(f.NotJudged) > 0 {
			t.Errorf("internet %v: %+v, %v", internet, f, err)
		}
	}
}
