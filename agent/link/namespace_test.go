package link

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tapwatch/internal/netns"
)

func tap(i netns.Ifindex, name string) Link {
	return Link{Ifindex: i, Name: name, Kind: "tun", Tun: Tun{Mode: TunTap}}
}

func TestIsTap(t *testing.T) {
	for what, c := range map[string]struct {
		link Link
		want bool
	}{
		"tap mode":               {tap(2, "wg0"), true},
		"macvtap":                {Link{Kind: "macvtap"}, true},
		"tun mode":               {Link{Name: "tap0", Kind: "tun", Tun: Tun{Mode: TunIP}}, false},
		"a mode not known":       {Link{Name: "tap0", Kind: "tun"}, false},
		"a veth by a tap's name": {Link{Name: "tap0", Kind: "veth"}, false},
		"hardware":               {Link{Name: "tap0"}, false},
	} {
		if got := c.link.IsTap(); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// Taps and names follow whatever a link becomes, in a namespace with few links and
// in one with many.
func TestTapsAndNamesFollow(t *testing.T) {
	for _, more := range []int{0, 32} {
		t.Run(fmt.Sprint(more), func(t *testing.T) {
			tab, now := newTable(), time.Time{}
			if _, known := tab.taps(77); known {
				t.Error("a namespace is known that was never read")
			}
			ns := tab.bind(1, 77)
			if _, known := tab.taps(77); known {
				t.Error("a namespace is known before its first link")
			}
			want := func(step string, taps []netns.Ifindex, names map[string]netns.Ifindex) {
				t.Helper()
				ls, known := tab.taps(77)
				var got []netns.Ifindex
				for _, l := range ls {
					got = append(got, l.Ifindex)
				}
				if !known || !slices.Equal(got, taps) {
					t.Errorf("%s: taps %v, want %v", step, got, taps)
				}
				for name, i := range names {
					l, known := byName(tab.in(77), name)
					if !known || (l == nil) != (i == 0) || l != nil && (l.Ifindex != i || l.Name != name) {
						t.Errorf("%s: %s is %+v, want number %d", step, name, l, i)
					}
				}
			}
			for i := range more {
				tab.put(ns, Link{Ifindex: netns.Ifindex(100 + i), Name: fmt.Sprintf("veth%d", i), Kind: "veth"}, now, true)
			}
			tab.put(ns, tap(5, "tap5"), now, true)
			tab.put(ns, tap(3, "tap3"), now, true)
			tab.put(ns, Link{Ifindex: 1, Name: "lo"}, now, true)
			want("found", []netns.Ifindex{3, 5}, map[string]netns.Ifindex{"tap3": 3, "tap5": 5, "lo": 1, "tap9": 0})
			tab.put(ns, tap(3, "tap9"), now, false)
			want("renamed", []netns.Ifindex{3, 5}, map[string]netns.Ifindex{"tap3": 0, "tap9": 3, "tap5": 5})
			// A dump after lost events: two links have changed names.
			tab.put(ns, tap(3, "tap5"), now, true)
			tab.put(ns, tap(5, "tap9"), now, true)
			want("swapped", []netns.Ifindex{3, 5}, map[string]netns.Ifindex{"tap5": 3, "tap9": 5})
			tab.put(ns, Link{Ifindex: 3, Name: "tap5", Kind: "veth"}, now, true)
			want("another kind", []netns.Ifindex{5}, map[string]netns.Ifindex{"tap5": 3})
			tab.remove(ns, 5, now, false)
			want("gone", nil, map[string]netns.Ifindex{"tap9": 0, "tap5": 3})
		})
	}
}

// What Taps has returned stays as it is.
func TestTapsAreACopy(t *testing.T) {
	tab := newTable()
	ns := tab.bind(1, 77)
	tab.put(ns, tap(2, "tap0"), time.Time{}, true)
	tab.put(ns, tap(3, "tap1"), time.Time{}, true)
	before, _ := tab.taps(77)
	tab.remove(ns, 2, time.Time{}, false)
	if len(before) != 2 || before[0] == nil || before[0].Ifindex != 2 {
		t.Errorf("taps became %+v", before)
	}
}

func TestPeer(t *testing.T) {
	tab, now := newTable(), time.Time{}
	host, inner := tab.bind(0, 70), tab.bind(1, 77)
	tab.put(host, Link{Ifindex: 9, Name: "veth0", Peer: 2, PeerNSID: 1}, now, true)
	tab.put(host, Link{Ifindex: 10, Name: "mv0", Peer: 9, PeerNSID: -1}, now, true)
	tab.put(inner, Link{Ifindex: 2, Name: "eth0", Peer: 9, PeerNSID: 0}, now, true)
	for what, c := range map[string]struct {
		of    Link
		want  string
		known bool
	}{
		"in another namespace":       {Link{Netns: 70, Peer: 2, PeerNSID: 1}, "eth0", true},
		"in its own":                 {Link{Netns: 70, Peer: 9, PeerNSID: -1}, "veth0", true},
		"none":                       {Link{Netns: 70, PeerNSID: -1}, "", true},
		"in a namespace not told":    {Link{Netns: 77, Peer: 9, PeerNSID: UnknownNSID}, "", false},
		"in a namespace not watched": {Link{Netns: 77, Peer: 9, PeerNSID: 5}, "", false},
	} {
		l, known := tab.peer(&c.of)
		if known != c.known || (l == nil) != (c.want == "") || l != nil && l.Name != c.want {
			t.Errorf("%s: %+v, %v", what, l, known)
		}
	}
}

func TestPeerNSIDOfAnEvent(t *testing.T) {
	for what, c := range map[string]struct {
		event Link
		old   *Link
		want  int32
	}{
		"in its own namespace":               {Link{Peer: 9, PeerNSID: -1}, &Link{Peer: 9, PeerNSID: 4}, -1},
		"elsewhere, new to us":               {Link{Peer: 9, PeerNSID: 0}, nil, int32(UnknownNSID)},
		"elsewhere, as an answer told":       {Link{Peer: 9, PeerNSID: 0}, &Link{Peer: 9, PeerNSID: 4}, 4},
		"elsewhere, another peer":            {Link{Peer: 8, PeerNSID: 0}, &Link{Peer: 9, PeerNSID: 4}, int32(UnknownNSID)},
		"elsewhere, was in its own":          {Link{Peer: 9, PeerNSID: 0}, &Link{Peer: 9, PeerNSID: -1}, int32(UnknownNSID)},
		"elsewhere, and not answered so far": {Link{Peer: 9, PeerNSID: 0}, &Link{Peer: 9, PeerNSID: UnknownNSID}, int32(UnknownNSID)},
	} {
		if got := peerNSID(&c.event, c.old); int32(got) != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
	}
}
