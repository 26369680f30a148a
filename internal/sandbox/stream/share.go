package stream

// share is how many events of one target's connections a loop serves before it
// asks epoll who else has any: a flood of one sandbox then costs the others so
// many turns, not one a connection of the flood.
const share = 2

// event is what epoll said of a leg, or that a leg has more to give.
type event struct {
	conn   *Conn
	gen    uint32 // of the leg
	side   Side
	events uint32
}

// stands says whether the leg is still the one that the event was of.
func (e event) stands() bool { return e.conn.legs[e.side].gen == e.gen }

// party is who takes turns with others in a loop: the connections of one target.
type party struct {
	round  uint64 // the last in which it was served
	served int    // events in that round
	late   []event
	next   int // of late
}

// partyOf a connection; those that lead nowhere yet are one together.
func (l *loop) partyOf(c *Conn) *party {
	if c.target == nil {
		return &l.nowhere
	}
	return &c.target.counters[l.id].party
}

// serve is told of an event: it is seen to now, or when its party has a turn.
func (l *loop) serve(e event) {
	if !e.stands() {
		return
	}
	p := l.partyOf(e.conn)
	if len(p.late) > 0 || !p.mayBeServed(l.round) {
		l.later(p, e)
		return
	}
	p.served++
	l.event(e.conn, e.side, e.events)
}

// mayBeServed says whether a party has not had its share of a round yet.
func (p *party) mayBeServed(round uint64) bool {
	if p.round != round {
		p.round, p.served = round, 0
	}
	return p.served < share
}

// later puts an event behind those that its party has already.
func (l *loop) later(p *party, e event) {
	if len(p.late) == 0 {
		l.parties = append(l.parties, p)
	}
	p.late = append(p.late, e)
}

// takeTurns serves a share of what each party has left.
func (l *loop) takeTurns() {
	turn := l.parties
	l.parties = l.room[:0]
	for _, p := range turn {
		for ; p.next < len(p.late) && p.mayBeServed(l.round); p.next++ {
			if e := p.late[p.next]; e.stands() {
				p.served++
				l.event(e.conn, e.side, e.events)
			}
		}
		if 2*p.next >= len(p.late) { // half of it is done with: the rest moves up
			p.late, p.next = append(p.late[:0], p.late[p.next:]...), 0
		}
		if len(p.late) > 0 {
			l.parties = append(l.parties, p)
		}
	}
	l.room = turn
}
