package agent

import (
	"time"

	"tapwatch/agent/discover"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
)

// What a tap counted since the last scrape would be lost with it, and of a
// sandbox that lives for less than a scrape's interval everything. So counters of
// a sandbox's tap are told for a while after it or its sandbox has gone. A state is
// not: what is gone has none.

// seriesGrace is for how long, where Config does not say.
const seriesGrace = 30 * time.Second

// goneMost bounds how many taps are told of; the oldest make room.
const goneMost = 4096

// gone is a sandbox's tap that has gone, or has gone from the sandbox.
type gone struct {
	until time.Time
	view  *path.Slot // of its counters and labels only; never changed, but replaced
}

// keep has the counters of a sandbox's tap told for a while from now on; nil where
// there are none.
func (m *model) keep(s *slot, b *discover.Binding, now time.Time) *gone {
	if b.Idle || m.grace <= 0 || s.tap == nil {
		return nil
	}
	v := &path.Slot{Facts: path.Facts{Netns: s.name, Sandbox: &path.Sandbox{ID: b.SandboxID},
		Device: path.Device{Name: b.Tap, Exists: path.Yes, Ups: s.tap.UpCount, Downs: s.tap.DownCount}}}
	if s.hooks != nil && s.hooks.counters.Created != 0 {
		v.Traffic = s.hooks.traffic()
	}
	if now.IsZero() {
		now = time.Now()
	}
	g := &gone{until: now.Add(m.grace), view: v}
	m.gone = append(m.gone, g)
	m.gone = m.gone[max(0, len(m.gone)-goneMost):]
	return g
}

// last takes what the hooks had counted when they went.
func (g *gone) last(c probe.Counters) {
	if c.Created == 0 {
		return
	}
	v := *g.view
	was := v.Traffic
	v.Traffic = (&hooked{counters: c}).traffic()
	if was != nil {
		v.Traffic.HiddenReceive, v.Traffic.HiddenTransmit = was.HiddenReceive, was.HiddenTransmit
	}
	g.view = &v
}

// forgetGone ends the grace of those whose time is over.
func (m *model) forgetGone(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.gone) > 0 && !m.gone[0].until.After(now) {
		m.gone = m.gone[1:]
	}
	if len(m.gone) == 0 {
		m.gone = nil
	}
}

// labels are what a tap's series are told apart by.
type labels struct{ netns, device, sandbox string }

func labelsOf(s *path.Slot) labels { return labels{s.Netns, s.Device.Name, s.Sandbox.ID} }

// goneViews returns the taps that have gone, but those whose series another one
// has taken up: a tap of the same name that was made anew, above all.
func (m *model) goneViews(living []*path.Slot) []*path.Slot {
	m.mu.Lock()
	of := make(map[labels]*path.Slot, len(m.gone))
	for _, g := range m.gone {
		of[labelsOf(g.view)] = g.view
	}
	m.mu.Unlock()
	if len(of) == 0 {
		return nil
	}
	for _, s := range living {
		if s.Sandbox != nil && (s.Device.Exists == path.Yes || s.Traffic != nil) {
			delete(of, labelsOf(s))
		}
	}
	views := make([]*path.Slot, 0, len(of))
	for _, v := range of {
		views = append(views, v)
	}
	return views
}
