package relay

import (
	"net/netip"

	"tapwatch/internal/sandbox/stream"
)

// Route is one listening address in one namespace and where it leads.
type Route struct {
	relay    *Relay
	listener *stream.Listener
	target   *stream.Target
}

// Addr is the address listened on, its port never 0.
func (r *Route) Addr() netip.AddrPort { return r.listener.Addr() }

// LastDialError is why the guest could not be reached when it was last tried;
// nil when it could, or was never tried.
func (r *Route) LastDialError() error { return r.target.LastDialError() }

// Cut resets the route's connections and goes on listening: what was opened for
// one sandbox must not reach the next one of the slot.
func (r *Route) Cut() { r.target.Cut() }

// Close stops listening, cuts the connections and returns when none is left.
// Closing twice is no error.
func (r *Route) Close() error {
	r.listener.Close()
	r.target.Close()
	r.relay.mu.Lock()
	defer r.relay.mu.Unlock()
	if _, open := r.relay.routes[r]; open {
		delete(r.relay.routes, r)
		r.relay.gone.Add(r.target.Stats())
	}
	return nil
}

// Stats is what a route has counted since it was opened.
type Stats struct {
	stream.Stats
	Listen   netip.AddrPort
	Accepted int64 // connections
	Pauses   int64 // of accepting, for want of file descriptors
}

// Stats returns the counts of the route.
func (r *Route) Stats() Stats {
	s := Stats{Stats: r.target.Stats(), Listen: r.listener.Addr()}
	s.Accepted, s.Pauses = r.listener.Accepted()
	return s
}

// Failed is how many connections were reset because the guest could not be reached.
func (s Stats) Failed() int64 { return s.Ended[stream.Unreached] }

// Resets is how many connections that had reached the guest did not end in order.
func (s Stats) Resets() int64 {
	var n int64
	for why, count := range s.Ended {
		if why != stream.ClientEnded && why != stream.BackendEnded && why != stream.Unreached {
			n += count
		}
	}
	return n
}
