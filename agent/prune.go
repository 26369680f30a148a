package agent

import (
	"runtime/debug"
	"time"

	"tapwatch/internal/netns"
)

// pruneAfter is how long all must have been known before what is counted for
// other devices is taken for theirs that went while no agent ran.
const pruneAfter = 30 * time.Second

// prune forgets, once, what an agent before this one counted for devices that
// have gone.
func (m *model) prune(now time.Time, ready func() error) {
	if m.pruned {
		return
	}
	hooked, due := m.dueForPruning(now, ready() == nil)
	if !due {
		return
	}
	if _, err := m.probe.Prune(func(d netns.Device) bool { return hooked[d] }); err != nil {
		m.log.Warn("prune counters", "err", err)
	}
	debug.FreeOSMemory() // what the start needed is given back
}

// dueForPruning returns the devices to keep, once all has been known for a while.
func (m *model) dueForPruning(now time.Time, ready bool) (hooked map[netns.Device]bool, due bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !ready:
		m.readySince = time.Time{}
		return nil, false
	case m.readySince.IsZero():
		m.readySince = now
		return nil, false
	case now.Sub(m.readySince) < pruneAfter:
		return nil, false
	}
	m.pruned = true
	hooked = map[netns.Device]bool{}
	for _, s := range m.slots {
		if s.tap != nil { // hooked, or about to be
			hooked[netns.Device{Netns: s.entry.Cookie, Ifindex: s.tap.Ifindex}] = true
		}
	}
	return hooked, true
}
