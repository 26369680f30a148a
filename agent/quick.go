package agent

import (
	"time"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/probe"
)

// lookQuickly runs the checks where a guest has just refused a connection, and
// where a request has just waited as long as one may: time alone proves that.
func (m *model) lookQuickly() {
	now := probe.Now()
	since := m.quickAt
	m.quickAt = now
	if since == 0 {
		return
	}
	err := m.probe.ReadRefusals(&m.refusals, since)
	if err != nil {
		m.log.Debug("refusals are found later", "err", err)
	}
	due := m.dueQuickly(since, now, err == nil)
	for i := range due {
		due[i].fresh, due[i].err = m.probe.Counters(due[i].device)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range due {
		s := due[i].slot
		m.count(&due[i])
		if s.restless() {
			s.look()
			m.diagnose(s, time.Now())
		}
	}
}

// quickMost bounds the slots of one quick look: the others' turn comes within a
// second, as everything's does.
const quickMost = 64

// clocks is how far the clock of the hooks and that of the checks may disagree.
const clocks = probe.Moment(2 * time.Millisecond)

func (m *model) dueQuickly(since, now probe.Moment, refusals bool) (due []reading) {
	refusals = refusals && m.refusals.Any()
	m.mu.Lock()
	defer m.mu.Unlock()
	passed := func(waiting probe.Moment) bool {
		end := waiting + probe.Moment(diagnose.Patience) + clocks
		return waiting != 0 && since < end && end <= now
	}
	look := func(s *slot) {
		h := s.hooks
		if h != nil && len(due) < quickMost && (passed(h.envdWaiting) || passed(h.arpWaiting) || refusals && m.refusals.Of(h.device)) {
			due = append(due, reading{slot: s, device: h.device})
		}
	}
	if refusals {
		for s := range m.bound {
			look(s)
		}
		return due
	}
	for s := range m.waiting {
		if s.waits() {
			look(s)
		} else {
			delete(m.waiting, s)
		}
	}
	return due
}
