package stream

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lingerTime is for a client to see the answer that ends its connection.
const lingerTime = time.Second

// list holds connections by deadline: all of one list wait equally long, so the
// first is the oldest.
type list struct{ head, tail *Conn }

func (q *list) push(c *Conn) {
	c.prev, c.next = q.tail, nil
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
}

func (q *list) remove(c *Conn) {
	if c.prev == nil && q.head != c {
		return // not in it
	}
	if c.prev == nil {
		q.head = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		q.tail = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

func (q *list) due() time.Duration {
	if q.head == nil {
		return never
	}
	return q.head.deadline
}

// nextDue is when expire has something to do.
func (l *loop) nextDue() time.Duration {
	due := min(l.dialing.due(), l.closing.due(), l.restUntil)
	if l.conns > 0 {
		due = min(due, l.swept+sweepEvery)
	}
	return due
}

// expire does what is due.
func (l *loop) expire() {
	for l.dialing.due() <= l.now {
		l.unreached(l.dialing.head, unix.ETIMEDOUT)
	}
	for l.closing.due() <= l.now {
		l.finish(l.closing.head, Answered)
	}
	if l.restUntil <= l.now {
		l.endRest()
	}
	if l.conns > 0 && l.now >= l.swept+sweepEvery {
		l.swept = l.now
		l.sweep()
	}
}

// sweep sees to connections that last: short ones never pay for it.
func (l *loop) sweep() {
	for _, c := range l.slots {
		switch {
		case c.state == stateFree || l.now-c.since < lastingFrom:
		case c.state != stateHead && c.state != stateOpen:
		case c.overdue():
			l.lost(c, Client, os.ErrDeadlineExceeded, Cut)
		default:
			if fd := c.legs[Backend].fd; fd != noFile && !c.tuned {
				c.tuned = true
				l.engine.tuneLasting(fd)
				l.engine.capLeg(fd)
			}
			l.spareReader(c, Client)
			l.spareReader(c, Backend)
		}
	}
}

// overdue says whether what is expected has not come; what was passed on since the
// last sweep begins the time anew.
func (c *Conn) overdue() bool {
	if c.deadline == 0 || c.deadline > c.loop.now {
		return false
	}
	for i := range c.legs {
		if g := &c.legs[i]; g.bytes != g.swept {
			c.expectAnew()
			return false
		}
	}
	return true
}

// spareReader keeps the user timeout from ending a peer that is there but does not
// read: in the kernel's eyes it makes no progress, though it answers every probe.
// Whether it still answers is then the kernel's own rule (tcp_retries2).
func (l *loop) spareReader(c *Conn, s Side) {
	g, from := &c.legs[s], &c.legs[s.other()]
	stuck := g.blocked && from.bytes == from.swept
	from.swept = from.bytes
	if stuck != g.lifted && g.fd != noFile {
		g.lifted = stuck
		timeout := l.engine.cfg.UserTimeout
		if stuck {
			timeout = 0
		}
		_ = setInt(g.fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
	}
}
