package slots

import (
	"slices"

	"tapwatch/agent/path"
	"tapwatch/internal/clean"
)

// A launcher that starts a VMM in the wrong namespace leaves two places behind: the VMM
// with a tap that it made by itself, and a slot that waits. What is wrong is found at
// the first; beside the second it is said.

// straysMost is how many idle slots may be the one that a stray VMM was meant for: of
// more nobody could tell which.
const straysMost = 4

// findStrays says beside idle slots which VMM of their launcher sits where nothing leads
// to: it may have been meant for one of them.
func (s *Slots) findStrays() {
	stray := s.stray()
	if stray == nil && len(s.waiters) == 0 {
		return
	}
	were := s.waiters
	s.waiters = s.waitersFor(stray)
	for _, q := range were {
		if q.space != nil && q.stray != nil && !slices.Contains(s.waiters, q) {
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

// stray returns a VMM where nothing leads to, of several always the same one; nil: there
// is none.
func (s *Slots) stray() (first *place) {
	for p := range s.troubled {
		if p.stay != nil && p.misplaced() && (first == nil || p.key.Netns < first.key.Netns) {
			first = p
		}
	}
	return first
}

// waitersFor returns the idle slots that a stray VMM may have been meant for.
func (s *Slots) waitersFor(stray *place) (all []*place) {
	if stray == nil {
		return nil
	}
	for _, q := range s.taps {
		if q.stay == nil && q.stranger == nil && q.space.launcher() == stray.stay.Launcher && q.device.Name == stray.stay.Tap {
			all = append(all, q)
		}
	}
	if len(all) > straysMost {
		return nil
	}
	return all
}

// misplaced says whether a VMM that belongs into a slot runs where none is, with a tap
// that it made by itself and that nothing leads to.
func (p *place) misplaced() bool {
	return p.stay.foreign && p.space.Plan == nil && p.stay.Tap != "" && p.device.Persistent == path.No &&
		p.device.Bridge == "" && !p.kernel.Tap.IsValid() && p.key.Claim == 0
}
