package agent

import (
	"context"
	"log/slog"

	"tapwatch/agent/discover"
	"tapwatch/agent/probe"
	"tapwatch/agent/slots"
	"tapwatch/internal/netns"
)

// guard has hooks put back that somebody took away: the kernel reports each removal.
// What it does not report, hidden.go finds by comparing counters.
type guard struct {
	slots    *slots.Slots
	counters *counters
	discover *discover.Watcher
	removals *probe.Removals // nil: the kernel does not report removals
	log      *slog.Logger
}

func newGuard(p *probe.Probe, s *slots.Slots, c *counters, d *discover.Watcher, once bool, log *slog.Logger) *guard {
	g := &guard{slots: s, counters: c, discover: d, log: log.With("part", "guard")}
	if once { // one look puts no hooks on
		return g
	}
	var err error
	if g.removals, err = p.ListenRemovals(); err != nil {
		g.log.Warn("that hooks were taken away is found by their silence only", "err", err)
		g.removals = nil
	}
	return g
}

func (g *guard) run(ctx context.Context) error {
	if g.removals == nil {
		return nil
	}
	return g.removals.Run(ctx, g.discover.Resolve, g.removed)
}

// removed has the hooks of a tap put on again, or those of all taps where removals
// may have been missed: what still stands is left as it is.
func (g *guard) removed(d netns.Device, all bool) {
	if all {
		for _, d := range g.counters.all() {
			g.slots.Rehook(d)
		}
		return
	}
	if g.slots.Rehook(d) {
		g.log.Warn("another program took our hooks from a tap: they are put back", "netns", g.slots.NetnsName(d.Netns), "ifindex", d.Ifindex)
	}
}

func (g *guard) close() {
	if g != nil && g.removals != nil {
		g.removals.Close()
	}
}
