package agent

import (
	"tapwatch/agent/link"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/netns"
)

// A program that another put before ours may end the chain, and one that took our
// filters away ends it as well: our counters then stand, and to the checks that
// looks like silence. The driver's own counters tell the difference. They are
// asked for seldom, since the kernel takes RTNL for it.

const (
	// hiddenTurn is how many readings lie between two looks at one slot.
	hiddenTurn = 30
	// hiddenBytes is how much the driver must have counted before anything is
	// concluded: less may be between the two counters.
	hiddenBytes = 4096
)

// hiding compares one direction's two counters of bytes. Those of frames would
// differ: one that the hooks see may be cut into forty before the driver.
type hiding struct {
	link, hook uint64 // when it was concluded last
	hidden     uint64 // that the hooks did not see
	now        bool   // the last conclusion
}

// compare takes both counters, of which the driver's was read first. A frame
// passes the hooks before the driver counts it, and some are dropped in between,
// so the hooks have seen more at any time. That they saw less than half is no
// matter of when one looks. Where they began anew, ours is more than any number.
func (h *hiding) compare(link, hook uint64) {
	driver, ours := link-h.link, hook-h.hook
	if driver < hiddenBytes {
		return
	}
	h.link, h.hook = link, hook
	if h.now = ours < driver/2; h.now {
		h.hidden += driver - ours
	}
}

// hidings is both directions of a tap, since the first look.
type hidings struct {
	looked            bool
	downs             uint32 // one more than how often the carrier had gone at the last look; 0: it was there
	receive, transmit hiding
}

func (h *hidings) take(b link.Bytes, c *probe.Counters) {
	if !h.looked {
		h.looked = true
		h.receive = hiding{link: b.Receive, hook: c.ReceiveBytes}
		h.transmit = hiding{link: b.Transmit, hook: c.TransmitBytes}
		return
	}
	h.receive.compare(b.Receive, c.ReceiveBytes)
	h.transmit.compare(b.Transmit, c.TransmitBytes)
}

// concludes says whether the driver has counted enough for take to conclude anything.
func (h *hidings) concludes(b link.Bytes) bool {
	return !h.looked || b.Receive-h.receive.link >= hiddenBytes || b.Transmit-h.transmit.link >= hiddenBytes
}

func (h *hidings) now() bool { return h.receive.now || h.transmit.now }

// lookForHidden compares the counters of some of the taps, in turn. Hooks that do not
// see what passes are put on again: they may have been taken away.
func (a *Agent) lookForHidden(n int) {
	for _, d := range a.counters.inTurn(n) {
		if l, _ := a.links.Get(d); !a.counters.rests(d, l) {
			a.compare(d)
		}
	}
}

// inTurn returns the taps to look at at the nth reading.
func (c *counters) inTurn(n int) (taps []netns.Device) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for d := range c.tallies {
		if int(d.Netns)%hiddenTurn == n%hiddenTurn {
			taps = append(taps, d)
		}
	}
	return taps
}

// rests says whether a tap has been without carrier since the last look at it: the
// kernel passes it no frames then, so neither counter has moved. Of an unknown link it
// does not.
func (c *counters) rests(d netns.Device, l *link.Link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tallies[d]
	if t == nil {
		return true
	}
	was, is := t.hidings.downs, uint32(0)
	if l != nil && l.Carrier == link.Down {
		is = l.DownCount + 1 // 0 is with carrier
	}
	t.hidings.downs = is
	return t.hidings.looked && is != 0 && is == was
}

func (a *Agent) compare(d netns.Device) {
	c := a.counters
	driver, err := a.links.Bytes(d)
	if err == nil && !c.concludes(d, driver) {
		return
	}
	var hooks probe.Counters
	if err == nil {
		hooks, err = c.probe.Counters(d)
	}
	if err != nil { // gone meanwhile, most likely
		c.log.Debug("compare counters", "netns", d.Netns, "err", err)
		return
	}
	if c.conclude(d, driver, &hooks) {
		c.log.Warn("another program keeps frames from our hooks, or took them away: this tap's counters are too low",
			"cookie", d.Netns, "ifindex", d.Ifindex)
		a.slots.Rehook(d)
	}
}

func (c *counters) concludes(d netns.Device, driver link.Bytes) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tallies[d]
	return t != nil && t.hidings.concludes(driver)
}

// conclude takes both counters of a tap, and reports whether frames are hidden that
// were not before.
func (c *counters) conclude(d netns.Device, driver link.Bytes, hooks *probe.Counters) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tallies[d]
	if t == nil {
		return false
	}
	before := t.hidings
	t.hidings.take(driver, hooks)
	if t.hidings == before {
		return false
	}
	c.show(d, t)
	return t.hidings.now() && !before.now()
}

// addTo adds what was hidden to what is shown of a tap's traffic.
func (h *hidings) addTo(t *path.Traffic) {
	if h.looked {
		receive, transmit := h.receive.hidden, h.transmit.hidden
		t.HiddenReceive, t.HiddenTransmit = &receive, &transmit
	}
}
