package slots

import (
	"net/netip"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// veth makes a veth pair between the host and a namespace; without a namespace it takes
// it away.
func (w *world) veth(c netns.Cookie, up bool) {
	w.t.Helper()
	if c == 0 {
		w.away(netns.Device{Netns: self, Ifindex: 50})
		w.away(netns.Device{Netns: 10, Ifindex: 9})
		return
	}
	end := func(of netns.Cookie, i, peer netns.Ifindex, name string) {
		w.TakeLink(Change{Time: time.Now(), Of: netns.Device{Netns: of, Ifindex: i}, New: &Link{IsVeth: true, Peer: peer,
			Device: path.Device{Name: name, Ifindex: i, Exists: path.Yes, AdminUp: path.Known(up), Carrier: path.Known(up)}}})
	}
	end(self, 50, 9, "veth-10")
	end(c, 9, 50, "eth0")
}

// That a name leads to expect a veth pair proves none: it is missed once it was seen.
func TestVethThatANameLeadsToExpect(t *testing.T) {
	w := newWorld(t)
	w.TakeNamespace(Namespace{Cookie: self, Name: "host", Linked: true}, time.Now())
	w.TakeLink(Change{Of: netns.Device{Netns: self, Ifindex: 1}, New: &Link{Device: path.Device{Name: "lo", Exists: path.Yes}}})
	w.space(10, &Plan{Launcher: "e2b", Tap: "tap0", HostVeth: "veth-10", Assumed: true})
	tap := w.tap(10, 2, "tap0", path.Yes)
	w.hold(firecracker(11, "i1").on(tap, "tap0"))
	if v := w.Views()[0].Veth; v.HostUp != path.Unknown || v.PeerUp != path.Unknown {
		t.Errorf("never seen: %+v", v)
	}
	w.veth(10, true)
	if v := w.Views()[0].Veth; v.Host != "veth-10" || v.HostUp != path.Yes || v.PeerUp != path.Yes {
		t.Errorf("there: %+v", v)
	}
	w.veth(0, false)
	if v := w.Views()[0].Veth; v.Host != "veth-10" || v.HostUp != path.No {
		t.Errorf("gone: %+v", v)
	}
}

// A change on the host is of those that it reaches that way.
func TestBeyond(t *testing.T) {
	w := newWorld(t)
	w.TakeNamespace(Namespace{Cookie: self, Name: "host", Linked: true}, time.Now())
	for i, c := range []netns.Cookie{10, 11} {
		at := Addrs{Vpeer: netip.AddrFrom4([4]byte{10, 12, 0, byte(2*i + 1)}), Host: netip.AddrFrom4([4]byte{10, 11, 0, byte(i)}), Guest: guest}
		w.space(c, &Plan{Launcher: "e2b", Tap: "tap0", Addrs: at})
		w.tap(c, 2, "tap0", path.Yes)
	}
	w.hold(firecracker(11, "i1").on(netns.Device{Netns: 10, Ifindex: 2}, "tap0"), firecracker(12, "i2").on(netns.Device{Netns: 11, Ifindex: 2}, "tap0"))
	w.veth(10, true)
	for _, c := range []struct {
		to   string
		link netns.Ifindex
		want int
	}{
		{"", 0, 2}, {"0.0.0.0/0", 0, 2}, {"10.12.0.3/32", 0, 1}, {"10.11.0.0/32", 0, 1}, {"10.12.0.0/16", 0, 2}, {"10.13.0.0/16", 0, 0},
		{"", 50, 1}, {"", 51, 0}, {"10.12.0.3/32", 50, 0},
	} {
		var to netip.Prefix
		if c.to != "" {
			to = netip.MustParsePrefix(c.to)
		}
		if got := w.Beyond(to, c.link); len(got) != c.want {
			t.Errorf("%s by link %d: %v, want %d", c.to, c.link, got, c.want)
		}
	}
}

// A table of connections drops, and an accept queue overflows, when more is counted than
// before.
func TestCountsThatGrow(t *testing.T) {
	w := newWorld(t)
	w.space(10, &Plan{Launcher: "e2b", Tap: "tap0", Addrs: Addrs{Guest: guest}})
	w.hold(firecracker(11, "i1").on(w.tap(10, 2, "tap0", path.Yes), "tap0"))
	look := func(count, drops uint64) time.Time {
		t.Helper()
		found := &Inspection{}
		found.Inside.Conntrack = path.Conntrack{Count: count, Max: 100, Drops: drops}
		found.Inside.Overflows = &path.Counted{Count: drops}
		w.TakeInspection(w.Bound(nil)[0], found)
		w.judge(path.Diagnosis{})
		in := w.Views()[0].Inside
		if in.Conntrack.LastDrop.IsZero() != in.Overflows.Last.IsZero() {
			t.Errorf("accept queues overflowed %v", in.Overflows.Last)
		}
		return in.Conntrack.LastDrop
	}
	if at := look(100, 7); !at.IsZero() {
		t.Errorf("the first look: %v", at)
	}
	if at := look(100, 7); !at.IsZero() {
		t.Errorf("no more of them: %v", at)
	}
	at := look(100, 8)
	if time.Since(at) > time.Minute {
		t.Errorf("one more: %v", at)
	}
	if again := look(99, 8); !again.Equal(at) {
		t.Errorf("no more since: %v, it was %v", again, at)
	}
}

// Who listens is of the address at which it was looked for.
func TestRelayIsOfItsAddress(t *testing.T) {
	w := newWorld(t)
	assumed, found := netip.MustParseAddr("10.12.0.21"), netip.MustParseAddr("10.61.0.21")
	w.space(10, &Plan{Launcher: "e2b", Tap: "tap0", Assumed: true, Addrs: Addrs{Vpeer: assumed, Guest: guest}})
	tap := w.tap(10, 2, "tap0", path.Yes)
	w.hold(firecracker(11, "i1").on(tap, "tap0"))
	before, key := w.Relays(nil)[0], w.Bound(nil)[0].Key
	read := func(r RelayRead, is path.Tristate) {
		r.Is = path.Listener{Addr: r.At.String() + ":49983", Listening: is}
		w.TakeRelays([]RelayRead{r})
	}
	read(before, path.No)
	if r := w.Views()[0].Relay; r.Listening != path.No || !w.Views()[0].Assumed {
		t.Errorf("at the assumed address: %+v", r)
	}
	w.TakeTopology(key, Topology{Addrs: Addrs{Vpeer: found, Guest: guest}, Shape: registry.Relay})
	if r := w.Views()[0].Relay; r.Listening != path.Unknown || w.Views()[0].Assumed {
		t.Errorf("with another address: %+v", r)
	}
	read(before, path.No) // begun before
	if r := w.Views()[0].Relay; r.Listening != path.Unknown {
		t.Errorf("what was read of the other address: %+v", r)
	}
	read(w.Relays(nil)[0], path.Yes)
	if r := w.Views()[0].Relay; r.Listening != path.Yes || r.Addr != found.String()+":49983" {
		t.Errorf("at its address: %+v", r)
	}
}

// What a look found at a tap's old name is no fact of the tap.
func TestInspectionIsOfItsTap(t *testing.T) {
	w := newWorld(t)
	w.space(10, &Plan{Launcher: "e2b", Tap: "tap0", Addrs: Addrs{Guest: guest}})
	tap := w.tap(10, 2, "tap0", path.Yes)
	w.hold(firecracker(11, "i1").on(tap, "tap0"))
	at := w.Bound(nil)[0]
	w.tap(10, 2, "vm-eth", path.Yes) // renamed
	asked := w.asked[Inspect]
	w.TakeInspection(at, &Inspection{CloseLook: path.CloseLook{Inside: path.Inside{NoDefault: path.Yes}}})
	if w.Views()[0].Inside.NoDefault != path.Unknown || w.asked[Inspect] == asked {
		t.Error("a late look is taken for the renamed tap, or not asked for again")
	}
}

// What a look found for other addresses is no fact of these.
func TestInspectionIsOfItsAddresses(t *testing.T) {
	w := newWorld(t)
	plan := &Plan{Launcher: "e2b", Tap: "tap0", Assumed: true, Addrs: Addrs{Vpeer: netip.MustParseAddr("10.12.0.21"), Guest: guest}}
	w.space(10, plan)
	tap := w.tap(10, 2, "tap0", path.Yes)
	w.hold(firecracker(11, "i1").on(tap, "tap0"))
	at := w.Bound(nil)[0]
	missing := func() path.Tristate { return w.Views()[0].Inside.MissingDNAT }
	w.TakeInspection(at, &Inspection{CloseLook: path.CloseLook{Inside: path.Inside{MissingDNAT: path.Yes}}})
	if missing() != path.Yes {
		t.Error("a look is not taken")
	}
	w.space(10, nil) // its name is lost, and the address with it
	if missing() != path.Unknown {
		t.Error("what was found for an address that nobody knows is kept")
	}
	asked := w.asked[Inspect]
	w.TakeInspection(at, &Inspection{CloseLook: path.CloseLook{Inside: path.Inside{MissingDNAT: path.Yes}}})
	if missing() != path.Unknown || w.asked[Inspect] == asked {
		t.Errorf("a late look is taken for the new addresses, or not asked for again")
	}
}
