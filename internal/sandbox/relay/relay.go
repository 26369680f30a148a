// Package relay is the second hop of the data path: it listens inside the namespace
// of each slot and passes every connection on to the guest behind the tap. One
// process serves all slots; the engine beneath is package stream.
//
// What one side does the other side sees: an end of the stream as an end, in
// each direction by itself, and a reset as a reset. A guest that cannot be
// reached resets the client at once.
package relay

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"tapwatch/internal/sandbox/stream"
)

// ErrClosed is returned by a relay that was closed.
var ErrClosed = stream.ErrClosed

// Relay holds the routes of all slots. All methods may be called concurrently.
type Relay struct {
	engine *stream.Engine

	mu     sync.Mutex
	routes map[*Route]struct{}
	gone   stream.Stats // of routes that were closed
}

// New returns a relay without routes; log may be nil.
func New(log *slog.Logger) (*Relay, error) {
	return WithConfig(stream.Config{Log: log})
}

// WithConfig returns a relay whose connections are treated as told.
func WithConfig(cfg stream.Config) (*Relay, error) {
	engine, err := stream.New(cfg)
	if err != nil {
		return nil, err
	}
	return &Relay{engine: engine, routes: make(map[*Route]struct{})}, nil
}

// Listen passes connections to listen on to the address to, both inside the
// namespace of that path or name, until the route or the relay is closed. An
// error wraps netns.ErrNotExist or syscall.EADDRINUSE where that is the cause.
func (r *Relay) Listen(netnsPath string, listen, to netip.AddrPort) (*Route, error) {
	return r.Open(stream.ListenConfig{Netns: netnsPath, Addr: listen}, to)
}

// Open is Listen with all that a listener may be told.
func (r *Relay) Open(cfg stream.ListenConfig, to netip.AddrPort) (*Route, error) {
	return r.OpenLimited(cfg, to, nil)
}

// OpenLimited is Open with a quota, which several routes may share. What it does not
// admit is reset.
func (r *Relay) OpenLimited(cfg stream.ListenConfig, to netip.AddrPort, q *stream.Quota) (*Route, error) {
	target, err := r.engine.Target(cfg.Netns, to)
	if err != nil {
		return nil, fmt.Errorf("relay %s: %w", cfg.Addr, err)
	}
	target.Limit(q)
	cfg.To = target
	listener, err := r.engine.Listen(cfg)
	if err != nil {
		target.Close()
		return nil, fmt.Errorf("relay %s: %w", cfg.Addr, err)
	}
	route := &Route{relay: r, target: target, listener: listener}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes[route] = struct{}{}
	return route, nil
}

// Drain stops listening and returns when the last connection has ended; with an
// error when ctx ends before.
func (r *Relay) Drain(ctx context.Context) error { return r.engine.Drain(ctx) }

// Close closes every route and cuts their connections.
func (r *Relay) Close() error {
	r.mu.Lock()
	clear(r.routes)
	r.mu.Unlock()
	return r.engine.Close()
}

// Snapshot returns what every open route has counted so far, in no order.
func (r *Relay) Snapshot() []Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	stats := make([]Stats, 0, len(r.routes))
	for route := range r.routes {
		stats = append(stats, route.Stats())
	}
	return stats
}

// Counts returns what the open routes have counted, by namespace as it was told
// to Listen, and the sum of those that were closed.
func (r *Relay) Counts() (byNetns map[string]stream.Stats, gone stream.Stats) {
	byNetns = make(map[string]stream.Stats)
	for _, s := range r.Snapshot() {
		sum := byNetns[s.Netns]
		sum.Add(s.Stats)
		byNetns[s.Netns] = sum
	}
	return byNetns, r.Gone()
}

// Gone sums what the routes counted that are closed.
func (r *Relay) Gone() (sum stream.Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum.Add(r.gone)
	return sum
}

// Connections returns the live table of the routes into a namespace; "" is all.
func (r *Relay) Connections(netnsPath string) []stream.Connection {
	return r.engine.Connections(func(c stream.Connection) bool { return netnsPath == "" || c.Netns == netnsPath })
}
