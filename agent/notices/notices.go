// Package notices tells which namespaces' configuration has changed: rules,
// forwarding, addresses, routes. What it is now is read by whoever wants to know.
package notices

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// buffer is each socket's, in bytes: a change of a large ruleset is a message a rule.
const buffer = 4 << 20

// nfnlgrpNFTables is NFNLGRP_NFTABLES of include/uapi/linux/netfilter/nfnetlink.h.
// iptables-nft speaks through it too; iptables-legacy tells nobody.
const nfnlgrpNFTables = 7

// Watcher hears of every namespace that has an nsid in the agent's, and of the rules of
// the agent's own. Two sockets are all that it keeps.
type Watcher struct {
	route, filter *nlsafe.Listener
	log           *slog.Logger
	heard, lost   atomic.Uint64
}

// Stats counts since Open.
type Stats struct {
	Heard uint64 // messages
	Lost  uint64 // times that the kernel had to drop some
}

// Open subscribes, in the calling thread's namespace.
func Open(log *slog.Logger) (*Watcher, error) {
	route, err := nlsafe.Listen(unix.NETLINK_ROUTE, buffer, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("hear of routes and settings: %w", err)
	}
	filter, err := nlsafe.Listen(unix.NETLINK_NETFILTER, buffer, nfnlgrpNFTables)
	if err != nil {
		route.Close()
		return nil, fmt.Errorf("hear of rules: %w", err)
	}
	return &Watcher{route: route, filter: filter, log: log}, nil
}

// Close ends the watch.
func (w *Watcher) Close() {
	w.route.Close()
	w.filter.Close()
}

// Stats returns the counts so far.
func (w *Watcher) Stats() Stats { return Stats{w.heard.Load(), w.lost.Load()} }

// Run calls fn for each datagram with the namespace that it tells of, from two
// goroutines, until the context ends: NoNSID is the agent's own, whose routes change
// all the time and are not told of. All is set where some were lost: any namespace
// may have changed.
func (w *Watcher) Run(ctx context.Context, fn func(id netns.NSID, all bool)) error {
	var g errgroup.Group
	for _, l := range []*nlsafe.Listener{w.route, w.filter} {
		g.Go(func() error { w.hear(ctx, l, fn); return nil })
	}
	return g.Wait()
}

func (w *Watcher) hear(ctx context.Context, l *nlsafe.Listener, fn func(netns.NSID, bool)) {
	l.Hear(ctx, func(d nlsafe.Datagram, err error) {
		switch {
		case err != nil: // ENOBUFS above all
			w.lost.Add(1)
			w.log.Debug("notices of changes were lost", "err", err)
			fn(netns.NoNSID, true)
		case len(d.Bytes) > 0 && (!d.Own || l == w.filter):
			w.heard.Add(1)
			fn(netns.NSID(d.NSID), false)
		}
	})
}
