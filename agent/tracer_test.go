package agent

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/slots"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// What the kernel drops belongs to the path in whose namespace it was, or on the host to
// the one that is reached by that address.
func TestDroppedOf(t *testing.T) {
	const host, own, other = 1, 7, 8
	now, tap := ktime.Now(), netns.Device{Netns: own, Ifindex: 3}
	guest, vpeer, neighbour := netip.MustParseAddr("169.254.0.21"), netip.MustParseAddr("10.12.0.1"), netip.MustParseAddr("10.12.0.3")
	target := slots.Target{Key: slots.Key{Device: tap}, Netns: "ns-1", Tap: "tap0", Veth: path.Veth{Host: "veth-1"},
		Addrs: slots.Addrs{Guest: guest, Vpeer: vpeer}, Shape: registry.Relay}
	drop := func(in netns.Cookie, index netns.Ifindex, addr netip.Addr, count uint64, age time.Duration) probe.PathDrop {
		last := now - ktime.Moment(age)
		return probe.PathDrop{Device: netns.Device{Netns: in, Ifindex: index}, Addr: addr, Count: count, First: last, Last: last}
	}
	all := []probe.PathDrop{
		drop(own, 0, guest, 2, 0), // the namespace's own packet, that has no device
		drop(own, 3, guest, 5, 0),
		drop(own, 3, guest, 9, time.Minute),
		drop(other, 3, guest, 9, 0), // every guest has that address
		drop(host, 4, vpeer, 1, 0),
		drop(host, 4, neighbour, 9, 0),
		drop(0, 0, guest, 9, 0),
	}
	var at []string
	for _, d := range droppedOf(target, host, all, now.Time()) {
		at = append(at, d.At)
	}
	if want := []string{"tap0 in ns-1", "in ns-1", "on the host"}; !slices.Equal(at, want) {
		t.Errorf("%q, want %q", at, want)
	}

	many := slices.Repeat(all[:1], 3*droppedMost)
	if n := len(droppedOf(target, host, many, now.Time())); n != droppedMost {
		t.Errorf("%d are said, want %d at most", n, droppedMost)
	}

	target.Host, target.Key.Netns = true, host // its tap is the host's own
	at = nil
	for _, d := range droppedOf(target, host, append(all, drop(host, 3, guest, 4, 0)), now.Time()) {
		at = append(at, d.At)
	}
	if want := []string{"tap0 on the host"}; !slices.Equal(at, want) {
		t.Errorf("of a tap on the host: %q, want %q", at, want)
	}
}
