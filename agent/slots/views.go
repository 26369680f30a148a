package slots

import (
	"cmp"
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Views returns every place as it is now, by name. They are made when something
// changes and then shared: read them only.
func (s *Slots) Views() []*path.Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.order == nil {
		for _, sp := range s.spaces {
			for p := range sp.places {
				s.order = append(s.order, p)
			}
		}
		slices.SortFunc(s.order, byName)
	}
	now := time.Now()
	out := make([]*path.Slot, 0, len(s.order))
	for _, p := range s.order {
		if p.ignored {
			continue
		}
		if p.view == nil {
			p.view = &path.Slot{Facts: s.facts(p, now), Diagnosis: p.diagnosis}
		}
		out = append(out, p.view)
	}
	return out
}

func byName(a, b *place) int {
	x, y := a.space.Name, b.space.Name
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y), cmp.Compare(a.space.Cookie, b.space.Cookie),
		cmp.Compare(len(a.device.Name), len(b.device.Name)), cmp.Compare(a.device.Name, b.device.Name),
		cmp.Compare(a.key.Ifindex, b.key.Ifindex), cmp.Compare(a.key.Claim, b.key.Claim))
}

// All returns a copy of every place as it is now, by name.
func (s *Slots) All() []path.Slot {
	views := s.Views()
	now := time.Now()
	out := make([]path.Slot, len(views))
	for i, v := range views {
		out[i] = *v
		out[i].Now = now
	}
	return out
}

// Prunable returns, one single time, the taps that must keep their counters. It does so
// when the agent has been ready for as long as after says. All other counters belong to
// taps that went while no agent ran.
func (s *Slots) Prunable(now time.Time, ready bool, after time.Duration) (keep map[netns.Device]bool, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.pruned:
		return nil, false
	case !ready:
		s.readySince = time.Time{}
		return nil, false
	case s.readySince.IsZero():
		s.readySince = now
		return nil, false
	case now.Sub(s.readySince) < after:
		return nil, false
	}
	s.pruned = true
	keep = make(map[netns.Device]bool, len(s.taps))
	for d := range s.taps {
		keep[d] = true
	}
	return keep, true
}

// NetnsName returns what a namespace is called; empty: it is not known.
func (s *Slots) NetnsName(c netns.Cookie) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp := s.spaces[c]; sp != nil {
		return sp.Name
	}
	return ""
}
