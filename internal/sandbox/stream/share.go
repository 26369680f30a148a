package stream

// share is how many events of one target's connections a loop serves before
// everybody else who has any is served too: a flood of one sandbox then costs the
// others that many turns, not one a connection of the flood.
const share = 8

// event is what epoll said of a leg.
type event struct {
	conn   *Conn
	gen    uint32
	side   Side
	events uint32
}

// serve is told of an event: it is seen to now, or in the next round.
func (l *loop) serve(e event) {
	if e.conn.gen != e.gen {
		return // it was closed since
	}
	if t := e.conn.target; t != nil {
		n := &t.counters[l.id]
		if n.round != l.round {
			n.round, n.served = l.round, 0
		}
		if n.served++; n.served > share {
			l.late = append(l.late, e)
			return
		}
	}
	l.event(e.conn, e.side, e.events)
}

// beginRound serves those first that came too late in the last one.
func (l *loop) beginRound() {
	l.round++
	late := l.late
	l.late = l.lateRoom[:0]
	for _, e := range late {
		l.serve(e)
	}
	l.lateRoom = late
}
