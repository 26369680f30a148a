package agent

import (
	"context"
	"time"

	"tapwatch/agent/diagnose"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
)

// hearRefusals has a slot looked at as soon as its guest refuses a connection.
func (a *Agent) hearRefusals(ctx context.Context) {
	err := a.probe.Refusals(ctx, func(d netns.Device) {
		if s := a.model.boundIn(d.Netns); s != nil {
			a.told.refused.ask(s)
		}
	})
	if err != nil {
		a.cfg.Log.Warn("refusals are found by looking only", "err", err)
	}
}

// lookAtWaiting runs the checks where a request has just waited as long as one may:
// time alone proves that.
func (m *model) lookAtWaiting() {
	now := ktime.Now()
	since := m.quickAt
	m.quickAt = now
	if since != 0 {
		m.lookNow(m.waitedEnough(since, now))
	}
}

// quickMost bounds the slots of one quick look: the others' turn comes within a
// second, as everything's does.
const quickMost = 64

// clocks is how far the clock of the hooks and that of the checks may disagree.
const clocks = ktime.Moment(2 * time.Millisecond)

func (m *model) waitedEnough(since, now ktime.Moment) (slots []*slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	passed := func(waiting ktime.Moment) bool {
		end := waiting + ktime.Moment(diagnose.Patience) + clocks
		return waiting != 0 && since < end && end <= now
	}
	for s := range m.waiting {
		switch {
		case !s.waits():
			delete(m.waiting, s)
		case passed(s.hooks.envdWaiting) || passed(s.hooks.arpWaiting):
			slots = append(slots, s)
		}
	}
	return slots
}

// anyWaits says whether a request waits anywhere.
func (m *model) anyWaits() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiting) > 0
}

// lookNow reads some slots' counters, and runs the checks.
func (m *model) lookNow(slots []*slot) {
	var some []reading
	for _, d := range m.hooked(slots[:min(quickMost, len(slots))]) {
		some = append(some, m.read(d))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range some {
		s := some[i].slot
		m.count(&some[i])
		if s.restless() {
			s.look()
			m.diagnose(s, time.Now())
		}
	}
}

func (m *model) hooked(slots []*slot) (taps []tapDue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range slots {
		if s.hooks != nil {
			taps = append(taps, tapDue{s, s.hooks.device})
		}
	}
	return taps
}
