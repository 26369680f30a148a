package agent

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/notices"
	"tapwatch/agent/slots"
	"tapwatch/agent/sockets"
	"tapwatch/internal/netns"
)

// notifications are the subscriptions to what the kernel reports of namespaces beside
// their links: that rules, forwarding, addresses or routes changed, that a relay or a
// proxy begins or ceases to listen, that a guest refuses a connection. What is then so
// is read at once; without the report, in turn.
type notifications struct {
	notices *notices.Watcher // nil: the kernel does not report it
	listens *sockets.Watcher // nil: neither
	refused *asker           // taps whose guest refused a connection
}

const (
	// noticeDelay gathers what one command changes, and lets the kernel finish it.
	noticeDelay = 5 * time.Millisecond
	// noticeRest bounds the rest between two readings of what was reported.
	noticeRest = 250 * time.Millisecond
)

// startNotifications subscribes to what the kernel reports; a one-shot look skips it.
// What cannot be subscribed to is said, and found by looking.
func (a *Agent) startNotifications() {
	n := &notifications{refused: newAsker(noticeDelay, 9, noticeRest)}
	log := a.cfg.Log
	var err error
	if n.notices, err = notices.Open(log.With("part", "notices")); err != nil {
		log.Warn("changes of rules and settings are found by looking only", "err", err)
		n.notices = nil
	}
	if n.listens, err = sockets.Watch(a.cfg.ServicePort, a.cfg.proxy().Port()); err != nil {
		log.Warn("who listens is found by looking only", "err", err)
		n.listens = nil
	}
	a.notifications = n
	if watch, err := newFileWatch("consoles", log); err != nil {
		log.Warn("consoles are read in turn only", "err", err)
	} else {
		a.inspector.consoles = newConsoles(watch)
	}
	if watch, err := newFileWatch("frozen control groups", log); err != nil {
		log.Warn("what control groups freeze is found by turns only", "err", err)
	} else {
		a.inspector.freezers = &freezers{watch: watch}
	}
}

func (n *notifications) close() error {
	if n == nil {
		return nil
	}
	var errs []error
	if n.notices != nil {
		n.notices.Close()
	}
	if n.listens != nil {
		errs = append(errs, n.listens.Close())
	}
	return errors.Join(errs...)
}

// runNotifications has looked at what the kernel reports.
func (a *Agent) runNotifications(ctx context.Context) error {
	n := a.notifications
	var g errgroup.Group
	g.Go(func() error { a.counters.hearRefusals(ctx, n.refused); return nil })
	g.Go(func() error {
		n.refused.run(ctx, func(keys []slots.Key) {
			select {
			case a.refused <- keys:
			case <-ctx.Done():
			}
		})
		return nil
	})
	if n.notices != nil {
		g.Go(func() error { return n.notices.Run(ctx, a.changed) })
	}
	if n.listens != nil {
		g.Go(func() error {
			return n.listens.Run(ctx, func(in netns.Cookie) {
				if in == a.self || len(a.slots.In(in)) > 0 {
					a.listeners.wake.ask()
				}
			})
		})
	}
	return g.Wait()
}

// changed has the sandboxes looked at that a change may matter to.
func (a *Agent) changed(n notices.Notice) {
	if n.All || n.Filter && n.In == netns.NoNSID {
		a.inspector.host.changed.ask() // what the host's rules do with every path
	}
	c, ok := a.self, true
	if n.In != netns.NoNSID {
		c, ok = a.discover.Resolve(n.In)
	}
	switch {
	case n.All:
		a.inspector.asked.ask(a.slots.Beyond(netip.Prefix{}, 0)...)
	case !ok:
	case n.Filter && c == a.self:
		a.inspector.asked.ask(a.slots.In(a.self)...)
	case c == a.self:
		if keys := a.slots.Beyond(n.To, n.Link); len(keys) > 0 {
			a.inspector.asked.ask(keys...)
		}
	default:
		a.inspector.asked.ask(a.slots.In(c)...)
	}
}
