package agent

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/e2b"
	"tapwatch/internal/ktime"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// TestQueueThatNobodyReads holds a tap and never reads it, while frames are sent to
// its guest: more than the queue has places.
func TestQueueThatNobodyReads(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.bind(registry.Running)
	nettest.AttachTap(t, h.slot.Netns, "tap0")
	addAddr(t, h.slot.Netns, "tap0", netip.MustParseAddr(e2b.TapAddr), 30)
	var conn net.Conn
	nettest.In(t, h.slot.Netns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		guest := net.ParseIP(h.slot.GuestIP)
		err = netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: guest, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}})
		if err != nil {
			return err
		}
		conn, err = net.Dial("udp4", net.JoinHostPort(h.slot.GuestIP, "9"))
		return err
	})
	defer conn.Close()
	counted := func(s path.Slot) bool { return s.Traffic != nil && s.Traffic.LastDrops != nil }
	s := h.until("drops are counted", counted)
	if len(s.Traffic.LastDrops) != 0 {
		t.Errorf("drops of unknown time have one: %v", s.Traffic.LastDrops)
	}
	s = h.until("the queue is full", func(s path.Slot) bool {
		for range 100 {
			if _, err := conn.Write([]byte("to nobody")); err != nil {
				t.Fatal(err)
			}
		}
		return code(s) == "tap-queue-full"
	})
	if f := s.Diagnosis.Findings[0]; f.Severity != path.Warning || f.Hop != path.Tap || len(s.Diagnosis.Findings) != 1 {
		t.Errorf("found %+v", s.Diagnosis.Findings)
	}
	if s.Traffic.TransmitDrops["FULL_RING"] == 0 || s.Traffic.LastDrops["FULL_RING"].IsZero() {
		t.Errorf("by %v, last %v", s.Traffic.TransmitDrops, s.Traffic.LastDrops)
	}
}

func TestNoteDrops(t *testing.T) {
	counters := func(created ktime.Moment, reason string, count uint64) probe.Counters {
		c := probe.Counters{Created: created}
		c.Drops[0].Reason, c.Drops[0].Count = reason, count
		return c
	}
	at := time.Unix(1000, 0)
	var h tally
	for _, step := range []struct {
		what   string
		c      probe.Counters
		second time.Duration // of the reading
		want   time.Duration // second that FULL_RING grew last; 0: not seen
	}{
		{"left by another agent", counters(1, "FULL_RING", 7), 1, 0},
		{"the same", counters(1, "FULL_RING", 7), 2, 0},
		{"grown", counters(1, "FULL_RING", 8), 3, 3},
		{"the same again", counters(1, "FULL_RING", 8), 4, 3},
		{"more", counters(1, "FULL_RING", 9), 5, 5},
		{"begun anew", counters(2, "FULL_RING", 10), 6, 0},
	} {
		h.update(&step.c, at.Add(step.second*time.Second))
		got := h.lastDrops["FULL_RING"]
		if want := at.Add(step.want * time.Second); got != want && (step.want != 0 || !got.IsZero()) {
			t.Errorf("%s: %v, want %v", step.what, got, want)
		}
	}
	h.some.Losses = true
	if v := h.traffic(); v.LastDrops == nil || v.TransmitDrops["FULL_RING"] != 10 {
		t.Errorf("%v, %v", v.TransmitDrops, v.LastDrops)
	}
	h.some.Losses = false
	if v := h.traffic(); v.LastDrops != nil || v.TransmitDrops != nil {
		t.Error("what is not counted is shown as known")
	}
}
