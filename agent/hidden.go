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

// lookForHidden compares the counters of some of the bound slots. Hooks that do
// not see what passes are put on again: they may have been taken away.
func (m *model) lookForHidden(n int) {
	for _, c := range m.dueForHidden(n) {
		driver, err := m.links.Bytes(netns.Device{Netns: c.device.Netns, Ifindex: c.device.Ifindex})
		if err == nil && !c.before.concludes(driver) {
			continue
		}
		var hooks probe.Counters
		if err == nil {
			hooks, err = m.probe.Counters(c.device)
		}
		if err != nil { // gone meanwhile, most likely
			m.log.Debug("compare counters", "netns", c.device.Netns, "err", err)
			continue
		}
		m.concludeHidden(c, driver, &hooks)
	}
}

// comparison is a tap whose counters are to be compared.
type comparison struct {
	slot   *slot
	device netns.Device
	before hidings
}

func (m *model) dueForHidden(n int) (due []comparison) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.bound {
		if s.hooks != nil && int(s.entry.Cookie%hiddenTurn) == n%hiddenTurn {
			due = append(due, comparison{s, s.hooks.device, s.hooks.hidings})
		}
	}
	return due
}

func (m *model) concludeHidden(c comparison, driver link.Bytes, hooks *probe.Counters) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := c.slot
	if s.hooks == nil || s.hooks.device != c.device {
		return
	}
	before := s.hooks.hidings
	s.hooks.hidings.take(driver, hooks)
	if s.hooks.hidings == before {
		return
	}
	s.changed()
	if s.hooks.hidings.now() && !before.now() {
		m.log.Warn("another program keeps frames from our hooks, or took them away: this tap's counters are too low",
			"netns", s.entry.Name, "cookie", s.entry.Cookie)
		m.hook(s)
	}
}

// addTo adds what was hidden to what is shown of a tap's traffic.
func (h *hidings) addTo(t *path.Traffic) {
	if h.looked {
		receive, transmit := h.receive.hidden, h.transmit.hidden
		t.HiddenReceive, t.HiddenTransmit = &receive, &transmit
	}
}
