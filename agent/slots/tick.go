package slots

import (
	"time"

	"tapwatch/agent/path"
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
	s.forgetDead(now)
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
