package agent

import (
	"time"

	"tapwatch/agent/discover"
	"tapwatch/agent/path"
)

// A foreign launcher keeps no record: its sandbox is there as long as its VMM is.
// When that has gone, how it ended says whether it was meant to. One that was not
// stays bound for a while, so that its end is found; else nobody would hear of it.

const (
	// exitAwaited is how long the kernel may take to tell how a VMM ended.
	exitAwaited = time.Second
	// exitKept is how long a sandbox is shown whose VMM ended as nobody wanted,
	// unless the slot becomes another's before.
	exitKept = 5 * time.Minute
)

// departure is what a slot becomes once its sandbox is let go.
type departure struct {
	entry *discover.Entry
	since time.Time
}

// departs holds back a change that takes a foreign sandbox from its slot because
// its VMM has gone.
func (m *model) departs(c discover.Change) bool {
	s := m.slots[c.Cookie()]
	if s == nil {
		return false
	}
	d, going := m.departing[s]
	delete(m.departing, s)
	b := s.entry.Binding
	if b.Source != discover.Firecracker || b.Idle || c.New == nil || c.New.Binding == nil || !c.New.Binding.Idle || m.noHooks {
		return false
	}
	if !going {
		d.since = c.Time
	}
	d.entry = c.New
	m.departing[s] = d
	stays := *b
	stays.VMMAlive = path.No
	s.entry = &discover.Entry{Namespace: c.New.Namespace, Binding: &stays}
	s.vmmAlive = path.No
	s.noteVMMGone(c.Time)
	m.order = nil
	s.changed()
	m.departed(s, c.Time)
	return true
}

// departed lets go of the sandbox of a VMM that ended as it should, or of which
// nothing was told, or long ago.
func (m *model) departed(s *slot, now time.Time) {
	d, going := m.departing[s]
	if !going {
		return
	}
	patience := exitKept
	if s.vmmExit == nil {
		patience = exitAwaited
	}
	if s.vmmExit != nil && s.vmmExit.Wanted || now.Sub(d.since) > patience {
		delete(m.departing, s)
		if s.vmmExit == nil { // nothing was told: what was held back is
			m.diagnose(s, now)
		}
		m.take(discover.Change{Time: now, Old: s.entry, New: d.entry})
		return
	}
	m.diagnose(s, now)
}

// settleDepartures lets go of those whose time has come.
func (m *model) settleDepartures(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.departing {
		m.departed(s, now)
	}
}
