package stream

import (
	"net/netip"
	"sync"
	"time"
)

// Connection is a row of the live table.
type Connection struct {
	Client netip.AddrPort
	Listen netip.AddrPort
	Netns  string // of the backend; "" is the process's own, or not yet known
	To     netip.AddrPort
	State  string
	Age    time.Duration
	Bytes  [2]int64 // passed on, by the Side that sent them
	Held   [2]int   // bytes that came from a side and that the other does not take

	Connect, FirstByte time.Duration // of the backend; 0 is not yet
	Kernel             [2]Kernel     // TCP_INFO by Side; no Legs where it is not known
}

// Connections returns a row for each connection that matches (nil: all), in no
// order. It keeps each loop from its work for about 1 ms per 1,000.
func (e *Engine) Connections(match func(Connection) bool) []Connection {
	var mu sync.Mutex
	var out []Connection
	e.each(func(l *loop) {
		now := e.now()
		var rows []Connection
		for _, c := range l.slots {
			if c.state == stateFree {
				continue
			}
			if row := c.row(now); match == nil || match(row) {
				rows = append(rows, row)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		out = append(out, rows...)
	})
	return out
}

// Visit calls fn for each connection of a handler's, on its loop, and returns when
// it has: for a handler that wants to do something to all of them.
func (e *Engine) Visit(fn func(*Conn)) {
	e.each(func(l *loop) {
		for _, c := range l.slots {
			if c.state != stateFree && c.listener.handler != nil {
				fn(c)
			}
		}
	})
}

func (c *Conn) row(now time.Duration) Connection {
	row := Connection{
		Client: c.peer, Listen: c.listener.addr, State: c.state.String(), Age: now - c.since, Connect: c.connect, FirstByte: c.firstByte,
	}
	if t := c.target; t != nil {
		row.Netns, row.To = t.path, t.addr
	}
	for i := range c.legs {
		g := &c.legs[i]
		row.Bytes[i], row.Held[i] = g.bytes, len(g.held)
		if info := &c.loop.info; g.fd != noFile && tcpInfo(g.fd, info) {
			row.Kernel[i] = Kernel{Legs: 1, RTT: time.Duration(info.Rtt) * time.Microsecond, Retransmits: int64(info.Total_retrans)}
		}
		if g.pipe != nil {
			row.Held[i] += g.pipe.n
		}
	}
	return row
}

func (s state) String() string {
	return [...]string{"free", "head", "dialing", "open", "closing"}[s]
}
