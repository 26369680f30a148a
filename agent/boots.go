package agent

import (
	"cmp"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// The boot timeline: each part tells of a phase as it learns of it, and what was
// first holds. Once a boot is settled its phases enter the fleet's histograms.

const (
	// bootSettles is how long after its end a boot may still learn of phases that
	// are read now and then.
	bootSettles = 5 * time.Second
	// bootGivenUp is when a boot that has not ended is taken as it is.
	bootGivenUp = 5 * time.Minute
)

// bootBounds are the upper bounds of a phase's histogram.
var bootBounds = []time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// bootBegins starts the timeline of the sandbox that was bound to the slot.
func (m *model) bootBegins(s *slot) {
	b := s.entry.Binding
	s.boot = &path.Boot{Begin: b.CreatedAt, Watched: b.CreatedAt.After(m.began)}
	m.recorder.Boot(b.SandboxID, s.boot)
	if !s.boot.Watched {
		return
	}
	m.boots[s] = struct{}{}
	m.phase(s, path.SlotReady, s.tapSeen)
	if s.tap != nil && carrierOf(s.tap) == path.Yes {
		m.carrierCame(s, s.carrierSince)
	}
}

// bootEnds settles the timeline of a sandbox that goes.
func (m *model) bootEnds(s *slot) {
	if _, ok := m.boots[s]; ok {
		m.settle(s)
	}
	s.boot = nil
}

// phase notes the end of a phase, if the boot is watched.
func (m *model) phase(s *slot, p path.Phase, at time.Time) {
	if s.boot == nil || !s.boot.Watched {
		return
	}
	if b := s.boot.With(p, at); b != s.boot {
		s.boot = b
		s.changed()
		m.recorder.Boot(s.entry.Binding.SandboxID, b)
	}
}

// carrierCame ends two phases: the kernel gives a tap its carrier as somebody
// opens it, unless it is admin down then.
func (m *model) carrierCame(s *slot, at time.Time) {
	m.phase(s, path.TapAttached, at)
	m.phase(s, path.CarrierSeen, at)
}

// phasesOfBinding takes what the launcher and the process table say.
func (m *model) phasesOfBinding(s *slot, now time.Time) {
	b := s.entry.Binding
	m.phase(s, path.VMMStarted, b.VMM.Started())
	if b.State == registry.Running {
		m.phase(s, path.EnvdHealthy, now)
	}
}

// phasesOfTraffic takes what the hooks saw first.
func (m *model) phasesOfTraffic(s *slot) {
	if _, ok := m.boots[s]; !ok {
		return
	}
	c := &s.hooks.counters
	m.phase(s, path.GuestFrame, c.FirstReceive.Time())
	m.phase(s, path.ARPAnswered, c.FirstARPReply.Time())
	m.phase(s, path.SYNACK, c.FirstEnvdSYNACK.Time())
}

// settleBoots counts the boots that are over.
func (m *model) settleBoots(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.boots {
		healthy := s.boot.At(path.EnvdHealthy)
		if s.boot.Complete() || !healthy.IsZero() && now.Sub(healthy) > bootSettles || now.Sub(s.boot.Begin) > bootGivenUp {
			m.settle(s)
		}
	}
}

func (m *model) settle(s *slot) {
	delete(m.boots, s)
	for _, step := range s.boot.Steps() {
		h := m.bootPhases[step.Phase]
		if h == nil {
			h = newTimes(bootBounds)
			m.bootPhases[step.Phase] = h
		}
		h.observe(step.Took)
	}
}

// tapCame notes when the slot's tap was first seen.
func (m *model) tapCame(s *slot, at time.Time) {
	if s.tapSeen.IsZero() {
		s.tapSeen = cmp.Or(at, time.Now())
	}
	m.phase(s, path.SlotReady, s.tapSeen)
}
