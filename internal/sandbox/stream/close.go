package stream

import (
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reason is how a connection ended.
type Reason uint8

// In order, the one that ended its stream first is told.
const (
	ClientEnded Reason = iota
	BackendEnded
	ClientReset
	BackendReset
	ClientVanished  // silent for too long: keep-alive or user timeout
	BackendVanished // likewise
	Unreached       // the backend could not be connected to
	Answered        // by us, through the handler
	Cut             // by us: its listener or target was closed, or its slot reused
	reasons
)

func (r Reason) String() string {
	return [...]string{
		"client-ended", "backend-ended", "client-reset", "backend-reset", "client-vanished", "backend-vanished",
		"unreached", "answered", "cut",
	}[r]
}

// hasEnded notes that a side has ended its stream.
func (l *loop) hasEnded(c *Conn, s Side) {
	from, other := &c.legs[s], &c.legs[s.other()]
	from.ended, from.readable = true, false
	if !other.ended {
		c.endedFirst = s
	}
}

// passEnd passes the end of a side's stream on, all of which the other has.
func (l *loop) passEnd(c *Conn, s Side) {
	from, to := &c.legs[s], &c.legs[s.other()]
	switch {
	case c.state == stateHead, c.state == stateClosing:
		l.finish(c, Answered)
	case c.state != stateOpen || to.shut:
	case c.listener.handler != nil && l.instead(c, s, io.EOF, ClientEnded+Reason(s)):
	case to.ended && to.held == nil && to.pipe == nil:
		l.finish(c, ClientEnded+Reason(c.endedFirst))
	default:
		from.more = false
		to.shut = true
		if errno := shutdownWrite(to.fd); errno != 0 {
			l.broken(c, s.other(), errno)
		}
	}
}

// finish closes both legs in order.
func (l *loop) finish(c *Conn, why Reason) {
	l.account(c, why)
	for i := range c.legs {
		if fd := c.legs[i].fd; fd != noFile {
			closeFD(fd)
		}
	}
	l.release(c)
}

// abort resets both legs.
func (l *loop) abort(c *Conn, why Reason) {
	l.account(c, why)
	for i := range c.legs {
		if fd := c.legs[i].fd; fd != noFile {
			reset(fd)
		}
	}
	l.release(c)
}

// broken ends a connection one leg of which has met an error: the other side sees
// a reset too.
func (l *loop) broken(c *Conn, s Side, errno syscall.Errno) {
	if c.state == stateDialing && s == Backend {
		l.unreached(c, errno)
		return
	}
	why := ClientReset
	if errno == unix.ETIMEDOUT || errno == unix.EHOSTUNREACH || errno == unix.ENETUNREACH {
		why = ClientVanished
	}
	if s == Client {
		l.abort(c, why)
		return
	}
	l.lost(c, Backend, fmt.Errorf("backend %s: %w", c.target.addr, errno), why+1)
}

// lost ends a connection, unless its handler knows better, by a reset.
func (l *loop) lost(c *Conn, s Side, err error, why Reason) {
	if c.listener.handler == nil || !l.instead(c, s, err, why) {
		l.abort(c, why)
	}
}

// instead does what the handler wants in place of passing on that a side was
// lost; false says that it wants nothing.
func (l *loop) instead(c *Conn, s Side, err error, why Reason) bool {
	switch v := c.listener.handler.Lost(c, s, err); {
	case v.End:
		l.answer(c, v, why)
	case v.To != nil:
		l.replace(c, v, why)
	case v.Leave:
		l.leave(c, why)
	default:
		return false
	}
	return true
}

// cut resets the connections that match.
func (l *loop) cut(match func(*Conn) bool) {
	for _, c := range l.slots {
		if c.state != stateFree && match(c) {
			l.abort(c, Cut)
		}
	}
}

// account counts the end of a connection, while its legs are still open.
func (l *loop) account(c *Conn, why Reason) {
	switch c.state {
	case stateDialing:
		l.dialing.remove(c)
	case stateClosing:
		l.closing.remove(c)
	}
	if c.target == nil {
		return
	}
	n := &c.target.counters[l.id]
	n.open.Add(-1)
	c.target.quota.count(-1)
	n.ended[why].Add(1)
	l.sample(c, n)
}

// sampleEach says how many short connections share one sample: asking the kernel
// costs as much as a read.
const (
	sampleEach  = 16
	sampleBytes = 1 << 20
)

// sample adds what the kernel knows of a connection's legs: of every lasting or
// large one, of some of the others.
func (l *loop) sample(c *Conn, n *counters) {
	l.unsampled++
	if l.unsampled < sampleEach && !c.tuned && c.legs[Client].bytes+c.legs[Backend].bytes < sampleBytes {
		return
	}
	l.unsampled = 0
	for i := range c.legs {
		if fd := c.legs[i].fd; fd != noFile && tcpInfo(fd, &l.info) {
			n.samples[i].Add(1)
			n.rtt[i].Add(int64(l.info.Rtt))
			n.retransmits[i].Add(int64(l.info.Total_retrans))
		}
	}
}
