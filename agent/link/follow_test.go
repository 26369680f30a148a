package link

import (
	"errors"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// rename gives a link another name. It is down meanwhile: before Linux 6.2 nothing
// that is up can be renamed.
func rename(t *testing.T, ns, from, to string) {
	t.Helper()
	nettest.SetUp(t, ns, from, false)
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByName(from)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetName(l, to), netlink.LinkSetUp(l))
	})
}

// move gives a link to another namespace.
func move(t *testing.T, from, to, name string) {
	t.Helper()
	target, err := os.Open(netns.Path(to))
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	nettest.In(t, from, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetNsFd(l, int(target.Fd()))
	})
}

// A tap that is renamed while a VMM holds it is the same tap, told in one change.
func TestRenameIsOneChange(t *testing.T) {
	for _, own := range []bool{true, false} {
		ns := nettest.Netns(t)
		host := ns
		if !own {
			host = nettest.Netns(t)
		}
		w := startIn(t, host, Config{Audit: -1}, false)
		nettest.Tap(t, ns, "tap0")
		nettest.AttachTap(t, ns, "tap0")
		c := w.add(ns)
		was := w.until(c, "tap0", "held", isUp)
		rename(t, ns, "tap0", "tap9")
		is := w.until(c, "tap9", "renamed and up", func(l Link) bool { return l.AdminUp && isUp(l) })
		if is.Ifindex != was.Ifindex || !is.IsTap() {
			t.Errorf("own %v: became %+v, was %+v", own, is, was)
		}
		if old, known := byName(w.In(c), "tap0"); old != nil || !known {
			t.Errorf("own %v: the old name is found as %+v", own, old)
		}
		nettest.Eventually(t, "the rename told", func() bool { return len(renames(w.of(c))) > 0 })
		told := renames(w.of(c))
		if len(told) != 1 || told[0].Old.Name != "tap0" || told[0].New.Name != "tap9" || told[0].Key() != was.Key() {
			t.Errorf("own %v: told %+v", own, told)
		}
		for _, change := range w.of(c) {
			if change.New == nil {
				t.Errorf("own %v: told as the end of %+v", own, change.Old)
			}
		}
		assertChained(t, w.of(c))
	}
}

func renames(cs []Change) (rs []Change) {
	for _, c := range cs {
		if c.Old != nil && c.New != nil && c.Old.Name != c.New.Name {
			rs = append(rs, c)
		}
	}
	return rs
}

// A tap that moves ends in one namespace and begins in the other, the agent's own
// among them.
func TestMoveIsAnEndAndABeginning(t *testing.T) {
	own, slot, other := nettest.Netns(t), nettest.Netns(t), nettest.Netns(t)
	w := startIn(t, own, Config{Audit: -1}, false)
	cookies := map[string]netns.Cookie{own: w.add(own), slot: w.add(slot), other: w.add(other)}
	nettest.Tap(t, own, "tap0")
	at := own
	w.until(cookies[own], "tap0", "made", func(l Link) bool { return l.AdminUp && l.Tun.Persistent })
	for _, to := range []string{slot, other, own} {
		move(t, at, to, "tap0")
		is := w.until(cookies[to], "tap0", "there", isDown)
		if taps, known := w.Taps(cookies[to]); !known || len(taps) != 1 || !is.IsTap() || is.Netns != cookies[to] {
			t.Errorf("taps %+v after the move", taps)
		}
		nettest.Eventually(t, "gone from where it was", func() bool {
			taps, known := w.Taps(cookies[at])
			return known && len(taps) == 0
		})
		at = to
	}
	for ns, c := range cookies {
		wantBegins := 1
		if ns == own { // made there, and come back
			wantBegins = 2
		}
		begins, ends := 0, 0
		nettest.Eventually(t, "all steps told", func() bool {
			begins, ends = steps(w.of(c), "tap0")
			return begins >= wantBegins && ends > 0
		})
		if begins != wantBegins || ends != 1 {
			t.Errorf("%d beginnings and %d ends, want %d and 1", begins, ends, wantBegins)
		}
		assertChained(t, w.of(c))
	}
}

// steps counts the beginnings and ends of a link.
func steps(cs []Change, name string) (begins, ends int) {
	for _, c := range cs {
		switch {
		case c.Old == nil && c.New.Name == name:
			begins++
		case c.New == nil && c.Old.Name == name:
			ends++
		}
	}
	return begins, ends
}

// The agent's own namespace has taps like any other, hundreds on a bridge.
func TestTapsOfTheOwnNamespace(t *testing.T) {
	const taps = 300
	own := nettest.Netns(t)
	makeTaps(t, own, taps/2)
	w := startIn(t, own, Config{Audit: -1}, false)
	c := w.add(own)
	nettest.Eventually(t, "the first half found", func() bool { ls, known := w.Taps(c); return known && len(ls) == taps/2 })
	nettest.In(t, own, func() error { return makeTapsFrom(taps/2, taps/2) })
	nettest.Eventually(t, "all found", func() bool { ls, _ := w.Taps(c); return len(ls) == taps })
	vmm := nettest.AttachTap(t, own, tapName(7))
	w.until(c, tapName(7), "held", isUp)
	vmm.Close()
	w.until(c, tapName(7), "let go", isDown)
	nettest.In(t, own, func() error {
		l, err := netlink.LinkByName(tapName(8))
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
	nettest.Eventually(t, "one gone", func() bool { l, known := byName(w.In(c), tapName(8)); return known && l == nil })
	assertChained(t, w.of(c))
}
