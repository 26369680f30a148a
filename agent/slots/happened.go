package slots

import (
	"maps"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// Happened is what has happened since the agent began: what came and went between two
// scrapes leaves its trace here.
type Happened struct {
	Found, Cleared map[string]uint64 // findings, by code
	States         map[path.State]uint64
	Created        uint64            // sandboxes
	Ended          map[string]uint64 // by reason: removed, vmm_failed, unknown
	Failed         map[path.Hop]uint64
	BootFailures   map[string]uint64 // by reason: ended, timeout
	Exits          map[Exit]uint64   // of VMMs
}

// Exit is how a VMM ended: Signal is its name, empty where it exited, with that status.
type Exit struct {
	Signal, Status string
	Wanted         bool
}

func newHappened() Happened {
	return Happened{Found: map[string]uint64{}, Cleared: map[string]uint64{}, States: map[path.State]uint64{}, Ended: map[string]uint64{},
		Failed: map[path.Hop]uint64{}, BootFailures: map[string]uint64{}, Exits: map[Exit]uint64{}}
}

// Happened is a copy.
func (s *Slots) Happened() Happened {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.happened
	return Happened{Found: maps.Clone(c.Found), Cleared: maps.Clone(c.Cleared), States: maps.Clone(c.States), Created: c.Created, Ended: maps.Clone(c.Ended),
		Failed: maps.Clone(c.Failed), BootFailures: maps.Clone(c.BootFailures), Exits: maps.Clone(c.Exits)}
}

// countVerdict counts a state that is another than before.
func (s *Slots) countVerdict(st *stay, was path.State, d *path.Diagnosis) {
	if d.State == was {
		return
	}
	s.happened.States[d.State]++
	if d.State != path.Broken || st.failed {
		return
	}
	st.failed = true
	for _, h := range d.Hops {
		if h.State == path.Broken {
			s.happened.Failed[h.Hop]++
			return
		}
	}
}

// countState notes whether a launcher has called its sandbox up.
func (st *stay) countState() {
	st.wasUp = st.wasUp || st.state == registry.Running || st.state == registry.Paused
}

// countEnd counts a sandbox that goes.
func (s *Slots) countEnd(p *place) {
	st := p.stay
	switch x := st.vmm.exit; {
	case !st.endingSince.IsZero() || x != nil && x.Wanted:
		s.happened.Ended["removed"]++
	case x != nil:
		s.happened.Ended["vmm_failed"]++
	default:
		s.happened.Ended["unknown"]++
	}
	if st.boot != nil && st.boot.Watched && st.state != "" && !st.wasUp { // of others' boots nothing tells
		s.happened.BootFailures["ended"]++
	}
}
