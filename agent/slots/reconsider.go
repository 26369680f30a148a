package slots

import (
	"time"

	"tapwatch/internal/netns"
)

// Reconsider finds anew who is at each place: the rules are others.
func (s *Slots) Reconsider(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sp := range s.spaces {
		s.resolveAll(sp, now)
		for p := range sp.places {
			s.touch(p)
		}
	}
}

// Found is what is to be known of a namespace.
type Found struct {
	Cookie  netns.Cookie
	Planned bool
	Claims  int
	Taps    []netns.Device
}

// Took says whether all that was found is known here.
func (s *Slots) Took(all []Found) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range all {
		sp := s.spaces[f.Cookie]
		if sp == nil || (sp.Plan != nil) != f.Planned || len(sp.Claims) != f.Claims {
			return false
		}
		for _, d := range f.Taps {
			if s.taps[d] == nil {
				return false
			}
		}
	}
	return true
}
