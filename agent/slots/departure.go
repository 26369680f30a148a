package slots

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

// A foreign launcher keeps no record: its sandbox is there as long as its VMM is.
// When that has gone, how it ended says whether it was meant to. A sandbox whose VMM
// was not meant to end stays bound for a while, so that its end is found; else nobody
// would hear of it.

const (
	// exitAwaited is how long the kernel may take to report how a VMM ended.
	exitAwaited = time.Second
	// exitKept is how long a sandbox is shown after its VMM ended as nobody wanted. It
	// is shown for less where another sandbox comes to its place.
	exitKept = 5 * time.Minute
)

// departs says whether a sandbox stays at its place though neither a record nor a
// process speaks for it any more.
func (s *Slots) departs(p *place, now time.Time) bool {
	st := p.stay
	if !st.foreign || s.cfg.NoHooks {
		return false
	}
	v := st.vmm
	if v.alive != path.No && v.exit == nil {
		return true // it runs, as far as is known: it has lost its tap
	}
	patience := exitKept
	if v.exit == nil {
		patience = exitAwaited
	}
	if v.exit != nil && v.exit.Wanted && !p.leftBehind() {
		return false
	}
	if now.Sub(v.goneSince) > patience {
		if v.exit == nil { // unknown, which is no problem, nor nothing
			s.tell(p, v.goneSince, path.VMMExited, fmt.Sprintf("the VMM, pid %d, has ended; how is not known", v.PID))
		}
		return false
	}
	s.leaving[p] = struct{}{}
	return true
}

// leftBehind says whether others still hold the tap of a VMM that has ended: nobody can
// attach to it, whether the end was wanted or not.
func (p *place) leftBehind() bool {
	return p.device.Carrier == path.Yes && len(p.living(p.holders)) > 0
}

// deadKept is how long a VMM that has ended is remembered: longer than it may be seen
// among the processes.
const deadKept = 10 * time.Minute

// forgetDead forgets the VMMs that ended long ago.
func (s *Slots) forgetDead(now time.Time) {
	for v, since := range s.dead {
		if now.Sub(since) > deadKept {
			delete(s.dead, v)
		}
	}
}

// settleDepartures lets go of the sandboxes whose time has come.
func (s *Slots) settleDepartures(now time.Time) {
	for p := range s.leaving {
		s.resolve(p, now)
		if p.stay == nil && p.key.Claim != 0 {
			s.drop(p, now)
			continue
		}
		s.settleEmpty(p, now)
		if p.space != nil {
			s.touch(p)
		}
	}
}

// settleEmpty forgets the place of a tap that has gone and that nobody expects.
func (s *Slots) settleEmpty(p *place, now time.Time) {
	if p.space.absent == p && p.stay == nil && p.space.expects() != p.device.Name {
		s.drop(p, now)
	}
}
