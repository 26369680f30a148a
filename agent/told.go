package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/notices"
	"tapwatch/agent/sockets"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
)

// told is what the kernel tells of namespaces beside their links: that rules,
// forwarding, addresses or routes changed, and that a relay or layer 1 begins or
// ceases to listen. What is then so is read at once; without it, in turn.
type told struct {
	notices *notices.Watcher // nil: the kernel does not tell
	listens *sockets.Watcher // nil: neither
	relays  *asker           // whose listeners are to be read; the slots do not matter
	refused *asker           // whose guest refused a connection
}

const (
	// toldDelay gathers what one command changes, and lets the kernel finish it.
	toldDelay = 5 * time.Millisecond
	// toldRest bounds the rest between two readings of what was told.
	toldRest = 250 * time.Millisecond
)

// newTold subscribes. What is refused is said, and found by looking.
func newTold(proxyPort uint16, log *slog.Logger) *told {
	t := &told{relays: newAsker(toldDelay, 9, toldRest), refused: newAsker(toldDelay, 9, toldRest)}
	var err error
	if t.notices, err = notices.Open(log.With("part", "notices")); err != nil {
		log.Warn("changes of rules and settings are found by looking only", "err", err)
		t.notices = nil
	}
	if t.listens, err = sockets.Watch(e2b.EnvdPort, proxyPort); err != nil {
		log.Warn("who listens is found by looking only", "err", err)
		t.listens = nil
	}
	return t
}

// hear has what an agent that stays is told of be told.
func (a *Agent) hear() {
	a.told = newTold(a.cfg.Proxy.Port(), a.cfg.Log)
	var err error
	if a.inspector.consoles, err = newConsoles(); err != nil {
		a.cfg.Log.Warn("consoles are read in turn only", "err", err)
	}
}

func (t *told) close() error {
	if t == nil {
		return nil
	}
	var errs []error
	if t.notices != nil {
		t.notices.Close()
	}
	if t.listens != nil {
		errs = append(errs, t.listens.Close())
	}
	return errors.Join(errs...)
}

// runTold has looked at what is told.
func (a *Agent) runTold(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error {
		a.told.relays.run(ctx, func([]*slot) { a.model.readListeners(a.cfg.Proxy) })
		return nil
	})
	g.Go(func() error { a.hearRefusals(ctx); return nil })
	g.Go(func() error {
		a.told.refused.run(ctx, func(slots []*slot) {
			select {
			case a.refused <- slots:
			case <-ctx.Done():
			}
		})
		return nil
	})
	if a.told.notices != nil {
		g.Go(func() error { return a.told.notices.Run(ctx, a.changed) })
	}
	if a.told.listens != nil {
		g.Go(func() error {
			return a.told.listens.Run(ctx, func(in netns.Cookie) {
				if in == a.self || a.model.boundIn(in) != nil {
					a.told.relays.ask()
				}
			})
		})
	}
	return g.Wait()
}

// changed has a namespace looked at, or every one where something was not heard.
func (a *Agent) changed(id netns.NSID, all bool) {
	if all {
		a.model.eachBound(func(s *slot) { a.inspector.asked.ask(s) })
		return
	}
	if c, ok := a.discover.Resolve(id); ok {
		if s := a.model.boundIn(c); s != nil {
			a.inspector.asked.ask(s)
		}
	}
}

// boundIn returns a namespace's slot if it has a sandbox, else nil.
func (m *model) boundIn(c netns.Cookie) *slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slots[c]
	if _, bound := m.bound[s]; !bound {
		return nil
	}
	return s
}
