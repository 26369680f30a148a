package probe

import (
	"slices"
	"sync"
	"time"

	"tapwatch/internal/netns"
)

// AttachBounds are the upper bounds of the buckets of ModeStats.Took.
var AttachBounds = []time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
	20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, time.Second,
}

// ModeStats is what attaching in one mode has cost.
type ModeStats struct {
	Attached int      // devices that are attached now
	Took     []uint64 // attachments by duration; one more than AttachBounds, not cumulated
	Sum      time.Duration
}

// stats counts attachments; the zero value works.
type stats struct {
	mu   sync.Mutex
	took map[Mode]*ModeStats
}

func (s *stats) attached(m Mode, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.took == nil {
		s.took = map[Mode]*ModeStats{}
	}
	of := s.took[m]
	if of == nil {
		of = &ModeStats{Took: make([]uint64, len(AttachBounds)+1)}
		s.took[m] = of
	}
	bucket, _ := slices.BinarySearch(AttachBounds, took)
	of.Took[bucket]++
	of.Sum += took
}

// ModeOf returns how a device is attached; "" where it is not.
func (p *Probe) ModeOf(d netns.Device) Mode {
	if a := p.device(d); a != nil {
		return a.mode
	}
	return ""
}

// Stats returns what attaching has cost, for each mode that was used.
func (p *Probe) Stats() map[Mode]ModeStats {
	p.stats.mu.Lock()
	out := make(map[Mode]ModeStats, len(p.stats.took))
	for m, s := range p.stats.took {
		out[m] = ModeStats{Took: slices.Clone(s.Took), Sum: s.Sum}
	}
	p.stats.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.devices {
		s := out[d.mode]
		s.Attached++
		out[d.mode] = s
	}
	return out
}
