package probe

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

func (d *Drops) total() (n uint64) {
	for _, r := range d {
		n += r.Count
	}
	return n
}

// dropped is how many frames the device's own statistics have as dropped.
func dropped(t *testing.T, ns string, d netns.Device) (n uint64) {
	t.Helper()
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByIndex(int(d.Ifindex))
		if err == nil {
			n = l.Attrs().Statistics.TxDropped
		}
		return err
	})
	return n
}

// A guest that does not read fills its tap; the kernel's own count of what then
// goes is ours too, with the reason, and it is still there after a restart.
func TestDropsOfAFullTap(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, f := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, f)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	frame := ethernet(guestMAC, g.host, unix.ETH_P_IPV6, ipv6())
	for range 1200 { // the ring holds 1,000
		transmit(t, ns, d, frame)
	}
	c := eventually(t, p, d, "all sent", func(c Counters) bool { return c.TransmitPackets == 1200 })
	want := dropped(t, ns, d)
	if want == 0 || c.Drops.Of("FULL_RING") != want || c.Drops.total() != want {
		t.Errorf("the device dropped %d, we counted %+v", want, c.Drops)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	next := reload(t, p.hooks.dir)
	if err := next.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	if again, err := next.Counters(d); err != nil || again.Drops != c.Drops {
		t.Errorf("after a restart %+v, %v, were %+v", again.Drops, err, c.Drops)
	}
	if err := next.Detach(ns, d); err != nil {
		t.Fatal(err)
	}
	if err := next.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	if c, err := next.Counters(d); err != nil || c.Drops.total() != 0 {
		t.Errorf("after a fresh start: %+v, %v", c.Drops, err)
	}
}

// What the guest sends and the host drops is no loss to the guest.
func TestDropsOnTheWayUpDoNotCount(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, f := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, f)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		g.send(ethernet(g.host, guestMAC, unix.ETH_P_IPV6, ipv6())) // disabled there
	}
	c := eventually(t, p, d, "all received", func(c Counters) bool { return c.ReceivePackets == 10 })
	if c.Drops.total() != 0 {
		t.Errorf("counted %+v", c.Drops)
	}
}

// A guest that answers no ARP: the waiting frames are dropped for that reason.
func TestDropsWithoutNeighbour(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, _ := tap(t)
	silence(t, ns)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	nettest.In(t, ns, func() error {
		return netlink.NeighDel(&netlink.Neigh{LinkIndex: int(d.Ifindex), IP: guestIP[:]})
	})
	connect(t, ns, 80)
	eventually(t, p, d, "NEIGH_FAILED", func(c Counters) bool { return c.Drops.Of("NEIGH_FAILED") > 0 })
}

// Data that the guest does not acknowledge is sent again; a SYN is not data, and
// another tap has no part in it.
func TestRetransmits(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, f := tap(t)
	otherNS, other, _ := tap(t)
	for ns, d := range map[string]netns.Device{ns: d, otherNS: other} {
		if err := p.Attach(ns, d, "tap0"); err != nil {
			t.Fatal(err)
		}
	}
	g := newGuest(t, ns, d, f)
	connect(t, ns, 81)
	g.syn(81)
	g.syn(81)
	if c, err := p.Counters(d); err != nil || c.Retransmits != 0 || !c.Losses {
		t.Errorf("after a SYN was sent again: %v, %+v", err, c)
	}
	fd, _ := g.dial(ns, 80)
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	eventually(t, p, d, "sent again", func(c Counters) bool { return c.Retransmits >= 2 })
	if c, err := p.Counters(other); err != nil || c.Retransmits != 0 {
		t.Errorf("the other tap: %v, %+v", err, c)
	}
}

// CPUs meet reasons in different orders, and together more than there are places.
func TestSumOfDrops(t *testing.T) {
	l := &losses{names: map[uint32]string{5: "FIVE", 6: "SIX"}}
	var a, b bpf.TapDrops
	a.Of[0].Reason, a.Of[0].Count = 5, 1
	a.Of[1].Reason, a.Of[1].Count = 6, 2
	b.Of[0].Reason, b.Of[0].Count = 6, 10
	b.Other = 4
	for i := 1; i < len(b.Of); i++ {
		b.Of[i].Reason, b.Of[i].Count = uint32(0x10000+i), 1
	}
	d := l.sum([]bpf.TapDrops{a, b})
	// FIVE, SIX and ten more have a place, the eleventh has none.
	if d.Of("FIVE") != 1 || d.Of("SIX") != 12 || d.Of("0x10001") != 1 || d.Of(otherReasons) != 5 || d.total() != 28 {
		t.Errorf("%+v", d)
	}
}
