// Package relay is layer 2 of the data path: it listens inside the namespace
// of each slot and passes every connection on to the guest behind the tap. One
// process serves all slots; only making a socket needs the namespace.
//
// What one side does the other side sees: an end of the stream as an end, in
// each direction by itself, and a reset as a reset. A guest that cannot be
// reached resets the client at once.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"tapwatch/internal/netns"
)

// ErrClosed is returned by a relay that was closed.
var ErrClosed = errors.New("relay is closed")

// dialTimeout bounds a dial to a guest that is silent though its ARP entry is
// fresh (a paused VMM); the kernel gives up by itself after 3 s without carrier.
const dialTimeout = 10 * time.Second

// Relay holds the routes of all slots. All methods may be called concurrently.
type Relay struct {
	log *slog.Logger

	mu     sync.Mutex
	routes map[*Route]struct{}
	closed bool
}

// New returns a relay without routes; log may be nil.
func New(log *slog.Logger) *Relay {
	if log == nil {
		log = slog.Default()
	}
	return &Relay{log: log, routes: make(map[*Route]struct{})}
}

// Listen passes connections to listen on to the address to, both inside the
// namespace of that path or name, until the route or the relay is closed. An
// error wraps netns.ErrNotExist or syscall.EADDRINUSE where that is the cause.
func (r *Relay) Listen(netnsPath string, listen, to netip.AddrPort) (*Route, error) {
	if !to.Addr().Is4() {
		return nil, fmt.Errorf("relay %s: to %s: must be an IPv4 address", listen, to)
	}
	l, err := listenIn(netnsPath, listen)
	if err != nil {
		return nil, fmt.Errorf("relay %s: %w", listen, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	route := &Route{
		relay: r, netns: netnsPath, to: to, listener: l,
		listen: l.Addr().(*net.TCPAddr).AddrPort(),
		cancel: cancel, conns: make(map[*net.TCPConn]struct{}),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		cancel()
		return nil, errors.Join(ErrClosed, l.Close())
	}
	r.routes[route] = struct{}{}
	route.running.Go(func() { route.acceptAll(ctx) })
	return route, nil
}

// Close closes every route and cuts their connections.
func (r *Relay) Close() error {
	r.mu.Lock()
	r.closed = true
	routes := make([]*Route, 0, len(r.routes))
	for route := range r.routes {
		routes = append(routes, route)
	}
	r.mu.Unlock()
	var errs []error
	for _, route := range routes {
		errs = append(errs, route.Close())
	}
	return errors.Join(errs...)
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

// listenIn makes a listening socket inside a namespace, where it stays.
// Multipath TCP, Go's default, would keep the kernel from splicing.
func listenIn(netnsPath string, addr netip.AddrPort) (*net.TCPListener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	var l net.Listener
	err := netns.Do(netnsPath, func() (err error) {
		l, err = lc.Listen(context.Background(), "tcp", addr.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}
