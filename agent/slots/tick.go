package slots

import (
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/clean"
	"tapwatch/internal/netns"
)

// brokenEvery is how often what is broken is judged again though nothing has changed:
// for its evidence, which says how long ago.
const brokenEvery = 5

// Tick is called every second, for the nth time: some problems only time shows.
func (s *Slots) Tick(n int, now time.Time) {
	s.mu.Lock()
	s.settleBoots(now)
	s.settleDepartures(now)
	for p := range s.restless {
		s.touch(p)
	}
	for p := range s.troubled {
		if p.diagnosis.State == path.Broken && int(p.key.Netns)%brokenEvery == n%brokenEvery {
			s.touch(p)
		}
	}
	s.findStrays()
	s.mu.Unlock()
	s.ForgetGone(now)
}

// straysMost is how many idle slots may be the one that a stray VMM was meant for: of
// more nobody could tell which.
const straysMost = 4

// findStrays says beside idle slots which VMM of their launcher sits where nothing leads
// to: it may have been meant for one of them.
func (s *Slots) findStrays() {
	var stray *place
	for p := range s.troubled {
		if p.stay != nil && p.misplaced() && (stray == nil || p.key.Netns < stray.key.Netns) {
			stray = p
		}
	}
	if stray == nil && len(s.waiters) == 0 {
		return
	}
	were := s.waiters
	s.waiters = nil
	if stray != nil {
		for _, q := range s.taps {
			if q.stay == nil && q.stranger == nil && q.space.launcher() == stray.stay.Launcher && q.device.Name == stray.stay.Tap {
				s.waiters = append(s.waiters, q)
			}
		}
	}
	if len(s.waiters) > straysMost {
		s.waiters = nil
	}
	for _, q := range were {
		if q.space != nil && !slices.Contains(s.waiters, q) && q.stray != nil {
			q.stray = nil
			s.touch(q)
		}
	}
	for _, q := range s.waiters {
		is := &path.Stray{SandboxID: stray.stay.SandboxID, Command: stray.stay.vmm.command, PID: stray.stay.vmm.PID, Netns: s.spaceName(stray.space), Device: clean.Label(stray.device.Name)}
		if q.stray == nil || *q.stray != *is {
			q.stray = is
			s.touch(q)
		}
	}
}

// misplaced says whether a VMM that belongs into a slot runs where none is, with a tap
// that it made by itself and that nothing leads to.
func (p *place) misplaced() bool {
	return p.stay.foreign && p.space.Plan == nil && p.stay.Tap != "" && p.device.Persistent == path.No &&
		p.device.Bridge == "" && !p.kernel.Tap.IsValid() && p.key.Claim == 0
}

// Waited returns the taps where a request that began in that span waits still. Others
// are forgotten to wait.
func (s *Slots) Waited(from, to time.Time) (taps []netns.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	passed := func(since time.Time) bool { return !since.IsZero() && since.After(from) && !since.After(to) }
	for p := range s.waiting {
		switch {
		case !p.waits():
			delete(s.waiting, p)
		case passed(p.traffic.EnvdWaiting) || passed(p.traffic.ARPWaiting):
			taps = append(taps, p.key.Device)
		}
	}
	return taps
}

// AnyWaits says whether a request waits anywhere.
func (s *Slots) AnyWaits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) > 0
}

// Rejudge has some taps judged again: a request has waited for long enough.
func (s *Slots) Rejudge(taps ...netns.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range taps {
		if p := s.taps[d]; p != nil && p.stay != nil {
			s.touch(p)
		}
	}
}
