package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Route is one listening address in one namespace and where it leads.
type Route struct {
	relay    *Relay
	netns    string
	listen   netip.AddrPort
	to       netip.AddrPort
	listener *net.TCPListener
	cancel   context.CancelFunc // ends dials under way
	running  sync.WaitGroup
	counters counters

	mu     sync.Mutex
	conns  map[*net.TCPConn]struct{} // both legs of every connection; nil once closed
	reason error                     // of the last dial that failed; nil after one that did not
}

// Addr is the address listened on, its port never 0.
func (r *Route) Addr() netip.AddrPort { return r.listen }

// LastDialError is why the guest could not be reached when it was last tried;
// nil when it could, or was never tried.
func (r *Route) LastDialError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reason
}

// Close stops listening, cuts the connections and returns when none is left.
// Closing twice is no error.
func (r *Route) Close() error {
	r.relay.mu.Lock()
	delete(r.relay.routes, r)
	r.relay.mu.Unlock()

	r.cancel()
	err := r.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	r.mu.Lock()
	conns := r.conns
	r.conns = nil
	r.mu.Unlock()
	for c := range conns {
		abort(c)
	}
	r.running.Wait()
	return err
}

// acceptAll ends with the listener. An error of accept that is not its end, such
// as no file descriptor left, is waited out: the connections stay in the backlog.
func (r *Route) acceptAll(ctx context.Context) {
	for {
		client, err := r.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			r.counters.acceptErrors.Add(1)
			r.relay.log.Warn("relay cannot accept", "netns", r.netns, "listen", r.listen, "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		r.counters.accepted.Add(1)
		r.running.Go(func() { r.serve(ctx, client) })
	}
}

// serve owns one connection from accept to the end of both legs.
func (r *Route) serve(ctx context.Context, client *net.TCPConn) {
	if !r.hold(client) {
		abort(client)
		return
	}
	defer r.drop(client)
	backend, err := dialIn(ctx, r.netns, r.to)
	r.note(err)
	if err != nil {
		r.counters.dialErrors.Add(1)
		r.relay.log.Debug("relay cannot reach the guest", "netns", r.netns, "to", r.to, "err", err)
		abort(client)
		return
	}
	if !r.hold(backend) {
		abort(client)
		abort(backend)
		return
	}
	defer r.drop(backend)
	r.counters.open.Add(1)
	defer r.counters.open.Add(-1)
	if err := join(client, backend, &r.counters.toGuest, &r.counters.toClient); err != nil {
		r.counters.resets.Add(1)
	}
}

// hold registers a leg for Close to cut; false says that the route is closed already.
func (r *Route) hold(c *net.TCPConn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *Route) drop(c *net.TCPConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *Route) note(dialErr error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reason = dialErr
}
