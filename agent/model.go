package agent

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/discover"
	"tapwatch/agent/link"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/netns"
)

// model is the state of all slots. One goroutine changes it (Agent.watch); any
// may read it.
type model struct {
	log    *slog.Logger
	events *path.Events
	probe  *probe.Probe
	links  *link.Watcher

	mu           sync.Mutex
	slots        map[netns.Cookie]*slot
	proxy        path.Listener
	retired      latency // of hooks that are gone
	attachErrors map[string]uint64
	readySince   time.Time // that everything is known; zero: it is not
	pruned       bool      // counters of devices that went before the agent came
}

// latency is a histogram of SYN to SYN-ACK.
type latency struct {
	counts [probe.LatencyBuckets]uint64
	sum    time.Duration
}

func (l *latency) add(c *probe.Counters) {
	for i, n := range c.Latency {
		l.counts[i] += n
	}
	l.sum += c.LatencySum
}

// Slots returns every slot as it is now, by name.
func (m *model) Slots() []path.Slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	out := make([]path.Slot, 0, len(m.slots))
	for _, s := range m.slots {
		out = append(out, path.Slot{Facts: s.facts(now, m.proxy), Diagnosis: s.diagnosis})
	}
	slices.SortFunc(out, func(a, b path.Slot) int {
		return cmp.Or(cmp.Compare(len(a.Netns), len(b.Netns)), cmp.Compare(a.Netns, b.Netns))
	})
	return out
}

// latencies is the histogram of all taps that there are and were.
func (m *model) latencies() (latency, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum, attached := m.retired, 0
	for _, s := range m.slots {
		if s.hooks != nil {
			sum.add(&s.hooks.counters)
			attached++
		}
	}
	return sum, attached
}

func (m *model) attachFailures() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.attachErrors)
}

// namespaceChanged takes what discover found.
func (m *model) namespaceChanged(c discover.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.slots[c.Cookie()]
	if c.New == nil || c.New.Binding == nil {
		if was != nil {
			m.drop(was, c.Time)
		}
		return
	}
	s := was
	if s == nil {
		s = &slot{entry: c.New}
		m.slots[c.Cookie()] = s
		m.tell(s, c.Time, path.SlotAdded, "slot of "+string(c.New.Binding.Source))
	}
	old := s.entry.Binding
	s.entry = c.New
	m.rebound(s, was == nil, old, c.Time)
	m.findTap(s)
	m.diagnose(s, c.Time)
}

// rebound tells of a sandbox that came or went. What the hooks counted for the
// last one must not speak for the next, so they begin anew.
func (m *model) rebound(s *slot, fresh bool, old *discover.Binding, now time.Time) {
	b := s.entry.Binding
	if !fresh && old.SandboxID == b.SandboxID {
		return
	}
	if !fresh && !old.Idle {
		m.publish(path.Event{Time: now, Kind: path.Unbound, Netns: s.entry.Name, Device: old.Tap,
			SandboxID: old.SandboxID, Name: old.Name, Text: "sandbox gone, the slot is idle or another's"})
		m.detach(s)
		s.diagnosis = path.Diagnosis{}
	}
	if !b.Idle {
		m.tell(s, now, path.Bound, "sandbox bound to the slot")
	}
}

// drop forgets a slot whose namespace has gone or is nobody's any more.
func (m *model) drop(s *slot, now time.Time) {
	m.tell(s, now, path.SlotRemoved, "the slot is gone")
	m.detach(s)
	delete(m.slots, s.entry.Cookie)
}

// findTap looks the slot's tap up among the links of its namespace.
func (m *model) findTap(s *slot) {
	links := m.links.In(s.entry.Cookie)
	s.links = s.links || len(links) > 0 // every namespace has lo: none means not read yet
	for i := range links {
		if links[i].Name == s.entry.Binding.Tap {
			m.setTap(s, &links[i], time.Time{})
			return
		}
	}
	if s.links {
		m.setTap(s, nil, time.Time{})
	}
}

// setTap takes the tap's new state; since is when it was seen to change, zero
// where it is as it was found.
func (m *model) setTap(s *slot, l *link.Link, since time.Time) {
	s.links = true
	if s.tap == nil || l == nil || s.tap.Carrier != l.Carrier {
		s.carrierSince = since
		s.holders = nil // until they are read again
	}
	if s.tap != nil && (l == nil || l.Ifindex != s.tap.Ifindex) {
		m.detach(s)
	}
	s.tap = l
	if l != nil && s.hooks == nil {
		m.attach(s)
	}
}

// linkChanged takes what link saw. It reports whether holders must be read anew,
// which runs the checks.
func (m *model) linkChanged(c link.Change) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slots[c.Key().Netns]
	if s == nil {
		return false
	}
	s.links = true
	if !isTap(s, c) {
		return false
	}
	since := c.Time
	if c.Old == nil {
		since = time.Time{}
	}
	if c.New != nil && c.New.Name != s.entry.Binding.Tap { // renamed away
		c.New = nil
	}
	old := s.tap
	m.setTap(s, c.New, since)
	m.tellCarrier(s, old, c)
	// What it means is told once the holders have been read: only then is it
	// clear whether the VMM went with the carrier.
	return true
}

// isTap says whether a change is about the slot's tap, under its old name or its new.
func isTap(s *slot, c link.Change) bool {
	if s.tap != nil && c.Key().Ifindex == s.tap.Ifindex {
		return true
	}
	return c.New != nil && c.New.Name == s.entry.Binding.Tap
}

// tellCarrier makes an event of a carrier that came or went. Flaps that went by
// without an event of their own are told with it, from the kernel's counters.
func (m *model) tellCarrier(s *slot, old *link.Link, c link.Change) {
	if old == nil {
		return
	}
	if c.New == nil {
		m.tell(s, c.Time, path.CarrierLost, "the tap is gone")
		return
	}
	text := s.tap.Name
	if n := c.Downs(); n > 1 {
		text += ", lost several times since the last event"
	}
	switch {
	case old.Carrier != link.Up && c.New.Carrier == link.Up:
		m.tell(s, c.Time, path.CarrierUp, "carrier on "+text)
	case old.Carrier != link.Down && c.New.Carrier == link.Down:
		m.tell(s, c.Time, path.CarrierLost, "NO-CARRIER on "+text)
	case c.Downs() > 0:
		m.tell(s, c.Time, path.CarrierLost, "NO-CARRIER for a moment on "+text)
	}
}

// diagnose runs the checks over the slot's facts and tells what changed.
func (m *model) diagnose(s *slot, now time.Time) {
	before := s.diagnosis
	s.diagnosis = diagnose.Run(s.facts(now, m.proxy))
	for _, f := range s.diagnosis.Findings {
		if !has(before, f.Code) {
			m.tell(s, now, path.Problem, f.Code+" at "+string(f.Hop)+": "+f.Cause)
		}
	}
	for _, f := range before.Findings {
		if !has(s.diagnosis, f.Code) {
			m.tell(s, now, path.Cleared, f.Code+" at "+string(f.Hop))
		}
	}
}

func has(d path.Diagnosis, code string) bool {
	return slices.ContainsFunc(d.Findings, func(f path.Finding) bool { return f.Code == code })
}

func (m *model) tell(s *slot, now time.Time, kind path.EventKind, text string) {
	b := s.entry.Binding
	m.publish(path.Event{Time: now, Kind: kind, Netns: s.entry.Name, Device: b.Tap,
		SandboxID: b.SandboxID, Name: b.Name, Text: text})
}

func (m *model) publish(e path.Event) {
	m.events.Publish(e)
	m.log.Debug("event", "kind", e.Kind, "netns", e.Netns, "sandbox", e.SandboxID, "text", e.Text)
}
