package slots

import (
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/clean"
)

// What a tap counted since the last scrape would be lost with it, and of a sandbox
// that lives for less than a scrape's interval everything. So the counters of a
// sandbox's tap are exported for a while after the tap or the sandbox has gone. A state
// is not: what is gone has none.

// goneMost bounds how many taps are kept; the oldest make room.
const goneMost = 4096

// gone is a sandbox's tap that has gone, or has gone from the sandbox.
type gone struct {
	until time.Time
	view  *path.Slot // of its counters and labels only; never changed, but replaced
}

// keep has the counters of the tap of a sandbox kept for a while from now on; nil
// where there are none.
func (s *Slots) keep(p *place, now time.Time) *gone {
	if p.stay == nil || s.cfg.Grace <= 0 || p.device.Exists != path.Yes || p.key.Claim != 0 {
		return nil
	}
	v := &path.Slot{Facts: path.Facts{Netns: p.space.Name, Sandbox: &path.Sandbox{ID: p.stay.SandboxID}, Traffic: p.traffic,
		Device: path.Device{Name: clean.Label(p.device.Name), Exists: path.Yes, Ups: p.device.Ups, Downs: p.device.Downs}}}
	if now.IsZero() {
		now = time.Now()
	}
	g := &gone{until: now.Add(s.cfg.Grace), view: v}
	s.gone = append(s.gone, g)
	s.gone = s.gone[max(0, len(s.gone)-goneMost):]
	return g
}

// last takes what the hooks had counted when they went.
func (s *Slots) last(g *gone, t *path.Traffic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := *g.view
	v.Traffic = t
	g.view = &v
}

// ForgetGone ends the grace of those whose time is over.
func (s *Slots) ForgetGone(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.gone) > 0 && !s.gone[0].until.After(now) {
		s.gone = s.gone[1:]
	}
	if len(s.gone) == 0 {
		s.gone = nil
	}
}

// labels are what tells the series of taps apart.
type labels struct{ netns, device, sandbox string }

func labelsOf(s *path.Slot) labels { return labels{s.Netns, s.Device.Name, s.Sandbox.ID} }

// Gone returns the taps that have gone. It leaves out a tap where a living one has the
// same labels, such as a tap of the same name that was made anew.
func (s *Slots) Gone(living []*path.Slot) []*path.Slot {
	s.mu.Lock()
	of := make(map[labels]*path.Slot, len(s.gone))
	for _, g := range s.gone {
		of[labelsOf(g.view)] = g.view
	}
	s.mu.Unlock()
	if len(of) == 0 {
		return nil
	}
	for _, v := range living {
		if v.Sandbox != nil && (v.Device.Exists == path.Yes || v.Traffic != nil) {
			delete(of, labelsOf(v))
		}
	}
	views := make([]*path.Slot, 0, len(of))
	for _, v := range of {
		views = append(views, v)
	}
	return views
}
