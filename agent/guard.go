package agent

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/discover"
	"tapwatch/agent/probe"
	"tapwatch/agent/slots"
	"tapwatch/internal/netns"
)

// guard has hooks put back that somebody took away: the kernel reports each removal.
// What it does not report, hidden.go finds by comparing counters.
type guard struct {
	probe    *probe.Probe
	slots    *slots.Slots
	counters *counters
	discover *discover.Watcher
	removals *probe.Removals // nil: the kernel does not report removals
	asked    *asker
	log      *slog.Logger
}

func newGuard(p *probe.Probe, s *slots.Slots, c *counters, d *discover.Watcher, once bool, log *slog.Logger) *guard {
	g := &guard{probe: p, slots: s, counters: c, discover: d, log: log.With("part", "guard"), asked: newAsker(guardDelay, 0, 0)}
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

// guardDelay is how long a removal is waited with: hooks go with their device too, and
// that it has gone is reported a moment later.
const guardDelay = 200 * time.Millisecond

func (g *guard) run(ctx context.Context) error {
	if g.removals == nil {
		return nil
	}
	var parts errgroup.Group
	parts.Go(func() error { g.asked.run(ctx, g.putBack); return nil })
	parts.Go(func() error { return g.removals.Run(ctx, g.discover.Resolve, g.removed) })
	return parts.Wait()
}

// removed notes the tap whose hooks were removed, or all taps where removals may have
// been missed.
func (g *guard) removed(d netns.Device, all bool) {
	if !all {
		g.asked.ask(slots.Key{Device: d})
		return
	}
	for _, d := range g.counters.all() {
		g.slots.Rehook(d) // what still stands is left as it is
	}
}

// putBack has hooks put on the taps again that are still there.
func (g *guard) putBack(keys []slots.Key) {
	for _, k := range keys {
		at, on := g.slots.Hooked(k.Device)
		if !on {
			continue // the tap has gone, and its hooks with it
		}
		if stand, err := g.probe.Stands(at, k.Device); err == nil && stand {
			continue // we took them off ourselves, and put others on since
		}
		if g.slots.Rehook(k.Device) {
			g.log.Warn("another program took our hooks from a tap: they are put back", "netns", g.slots.NetnsName(k.Netns), "ifindex", k.Ifindex)
		}
	}
}

func (g *guard) close() {
	if g != nil && g.removals != nil {
		g.removals.Close()
	}
}
