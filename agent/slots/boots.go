package slots

import (
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// The boot timeline: each part reports a phase as it learns of it, and what was first
// holds. Once a boot is settled its phases enter the histograms of the host.

const (
	// bootSettles is how long after its end a boot may still learn of phases that
	// are read now and then.
	bootSettles = 5 * time.Second
	// bootGivenUp is when a boot that has not ended is taken as it is.
	bootGivenUp = 5 * time.Minute
)

// bootBounds are the upper bounds of a phase's histogram.
var bootBounds = []time.Duration{
	time.Millisecond, 1600 * time.Microsecond, 2500 * time.Microsecond, 4 * time.Millisecond, 6300 * time.Microsecond,
	10 * time.Millisecond, 16 * time.Millisecond, 25 * time.Millisecond, 40 * time.Millisecond, 63 * time.Millisecond,
	100 * time.Millisecond, 160 * time.Millisecond, 250 * time.Millisecond, 400 * time.Millisecond, 630 * time.Millisecond,
	time.Second, 1600 * time.Millisecond, 2500 * time.Millisecond, 4 * time.Second, 6300 * time.Millisecond,
	10 * time.Second, 16 * time.Second, 30 * time.Second, time.Minute,
}

// Times is a histogram: Counts has one more than Bounds, which are upper bounds.
type Times struct {
	Bounds []time.Duration
	Counts []uint64
	Sum    time.Duration
}

// NewTimes makes an empty histogram.
func NewTimes(bounds []time.Duration) *Times {
	return &Times{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
}

// Observe counts a duration.
func (t *Times) Observe(d time.Duration) {
	i, _ := slices.BinarySearch(t.Bounds, d)
	t.Counts[i]++
	t.Sum += d
}

// Clone is a copy.
func (t *Times) Clone() Times { return Times{t.Bounds, slices.Clone(t.Counts), t.Sum} }

// bootBegins starts the timeline of the sandbox that came to a place.
func (s *Slots) bootBegins(p *place) {
	st := p.stay
	st.boot = &path.Boot{Begin: st.created, Watched: st.created.After(s.began)}
	s.cfg.Boot(st.SandboxID, st.boot)
	if !st.boot.Watched {
		return
	}
	s.happened.Created++
	s.boots[p] = struct{}{}
	s.phase(p, path.SlotReady, p.seen)
	s.phase(p, path.VMMStarted, st.vmm.started)
	if p.device.Carrier == path.Yes {
		s.carrierCame(p, p.device.Since)
	}
	s.phasesOfRecord(p, time.Now())
}

// bootEnds settles the timeline of a sandbox that goes.
func (s *Slots) bootEnds(p *place) {
	if _, ok := s.boots[p]; ok {
		s.settle(p)
	}
	p.stay.boot = nil
}

// phase notes the end of a phase, if the boot is watched.
func (s *Slots) phase(p *place, phase path.Phase, at time.Time) {
	if p.stay == nil || p.stay.boot == nil || !p.stay.boot.Watched {
		return
	}
	if b := p.stay.boot.With(phase, at); b != p.stay.boot {
		p.stay.boot = b
		s.touch(p)
		s.cfg.Boot(p.stay.SandboxID, b)
	}
}

// carrierCame ends two phases: the kernel gives a tap its carrier as somebody
// opens it, unless it is admin down then.
func (s *Slots) carrierCame(p *place, at time.Time) {
	s.phase(p, path.TapAttached, at)
	s.phase(p, path.CarrierSeen, at)
}

// phasesOfRecord takes what our launcher says.
func (s *Slots) phasesOfRecord(p *place, now time.Time) {
	if p.stay.state == registry.Running {
		s.phase(p, path.EnvdHealthy, now)
	}
}

// settleBoots counts the boots that are over.
func (s *Slots) settleBoots(now time.Time) {
	for p := range s.boots {
		b := p.stay.boot
		if now.Sub(b.Begin) > bootGivenUp && p.stay.state == registry.Booting {
			s.happened.BootFailures["timeout"]++
			p.stay.wasUp = true // its end is no second failure
		}
		healthy := b.At(path.EnvdHealthy)
		if b.Complete() || !healthy.IsZero() && now.Sub(healthy) > bootSettles || now.Sub(b.Begin) > bootGivenUp {
			s.settle(p)
		}
	}
}

func (s *Slots) settle(p *place) {
	delete(s.boots, p)
	for _, step := range p.stay.boot.Steps() {
		h := s.bootPhases[step.Phase]
		if h == nil {
			h = NewTimes(bootBounds)
			s.bootPhases[step.Phase] = h
		}
		h.Observe(step.Took)
	}
}

// BootTimes are the histograms of the phases of boots.
func (s *Slots) BootTimes() map[path.Phase]Times {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[path.Phase]Times, len(s.bootPhases))
	for p, h := range s.bootPhases {
		all[p] = h.Clone()
	}
	return all
}
