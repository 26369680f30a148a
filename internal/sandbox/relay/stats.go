package relay

import (
	"net/netip"
	"sync/atomic"
)

// Stats is what a route has counted since it was opened.
type Stats struct {
	Netns  string
	Listen netip.AddrPort
	To     netip.AddrPort

	Open         int64 // connections with both legs up, now
	Accepted     int64 // connections
	AcceptErrors int64
	DialErrors   int64 // connections reset because the guest could not be reached
	Resets       int64 // joined connections that did not end in order
	ToGuest      int64 // bytes from clients; behind by up to chunk bytes per connection
	ToClient     int64 // bytes from the guest, likewise
}

type counters struct {
	open, accepted, acceptErrors, dialErrors, resets, toGuest, toClient atomic.Int64
}

// Stats returns the counts of the route; each is exact, together they are of
// slightly different moments.
func (r *Route) Stats() Stats {
	c := &r.counters
	return Stats{
		Netns: r.netns, Listen: r.listen, To: r.to,
		Open: c.open.Load(), Accepted: c.accepted.Load(), AcceptErrors: c.acceptErrors.Load(),
		DialErrors: c.dialErrors.Load(), Resets: c.resets.Load(),
		ToGuest: c.toGuest.Load(), ToClient: c.toClient.Load(),
	}
}
