package stream

import (
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Side is one end of a connection.
type Side uint8

// The client is who connected to the listener, the backend whom we dialled.
const (
	Client Side = iota
	Backend
)

func (s Side) other() Side { return 1 - s }

func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "backend"
}

const (
	unlimited = math.MaxInt64
	noFile    = -1
)

// What a connection is doing.
type state uint8

const (
	stateFree state = iota
	stateHead       // no backend yet: its handler wants to see more, or waits
	stateDialing
	stateOpen
	stateClosing // answered and ended by us: until the client has seen it
)

// leg is one socket of a connection and what came from it.
type leg struct {
	fd       int32
	gen      uint32 // of this socket, 0 for none: what is left of an earlier one has another
	readable bool   // epoll said so, and nobody has read to the end since
	ended    bool   // it has ended its stream
	shut     bool   // we have told it the end of the other's
	blocked  bool   // it did not take all of a write
	watched  bool   // in epoll
	wantOut  bool   // in epoll for writing as well
	lifted   bool   // without user timeout, see sweep
	final    bool   // epoll has seen its end: read until it shows
	more     bool   // the handler wants more than is held before it judges
	waiting  bool   // for Resume
	full     uint8  // reads that filled the buffer, in a row
	small    uint8  // splices that were short, in a row

	pass  int64  // bytes from it that may go on unseen by the handler
	held  []byte // what came from it and could not go on yet, in room
	room  []byte // nil, or bufferSize bytes
	pipe  *pipe  // what came from it and could not go on yet, or nil
	bytes int64  // passed on from it
	swept int64  // of bytes, at the last sweep
}

// Conn is one connection: two legs, of which the second may be yet to be made.
// It belongs to a loop; a Handler may use it within its own calls only.
type Conn struct {
	// State is the handler's.
	State any

	loop       *loop
	listener   *Listener
	target     *Target // nil until it is known
	index      int32
	gen        uint32 // of this use of the slot; what is left of an earlier one has another
	state      state
	tuned      bool // has what only lasting connections need
	nodelay    bool // of the backend's leg
	guess      bool // bytes are tried on the backend before it is known to be connected
	capped     bool // the backend's buffers are bounded
	endedFirst Side // who ended its stream, if both have: the first
	legs       [2]leg

	cookies   [2]uint64 // of the sockets, by Side; 0 where nobody was told yet
	peer      netip.AddrPort
	since     time.Duration // when it was accepted
	dialed    time.Duration // when the dial began
	connect   time.Duration // what the dial took; 0 before
	sent      time.Duration // when the first bytes went to the backend; 0 before
	firstByte time.Duration // from then to the backend's first; 0 before
	deadline  time.Duration // in the list it is in; else of what the handler expects
	expect    time.Duration // see ExpectWithin
	prev      *Conn
	next      *Conn // in a list, or of the free ones
}

// newConn takes a slot for a client's socket.
func (l *loop) newConn(ln *Listener, fd int32) *Conn {
	c := l.free
	if c == nil {
		c = &Conn{loop: l, index: int32(len(l.slots))}
		l.slots = append(l.slots, c)
	} else {
		l.free = c.next
		*c = Conn{loop: l, index: c.index, gen: c.gen}
	}
	c.listener, c.state = ln, stateHead
	c.legs[Backend].fd = noFile
	l.give(&c.legs[Client], fd)
	l.conns++
	l.engine.open.Add(1)
	return c
}

// give gives a leg its socket. Events are told by socket: what one batch of epoll's,
// or a party's queue, still holds of a backend that was left must not pass for the
// next one's.
func (l *loop) give(g *leg, fd int32) {
	if l.gens = (l.gens + 1) & (1<<(32-kindBits) - 1); l.gens == 0 {
		l.gens = 1
	}
	g.fd, g.gen = fd, l.gens
}

// release gives a connection's slot back; its sockets are closed.
func (l *loop) release(c *Conn) {
	for i := range c.legs {
		l.drop(&c.legs[i])
		c.legs[i].gen = 0
	}
	if h := c.listener.handler; h != nil {
		h.Closed(c)
	}
	c.gen++
	c.state, c.State, c.target, c.listener = stateFree, nil, nil, nil
	c.next = l.free
	l.free = c
	l.conns--
	l.engine.open.Add(-1)
	l.wakeResting()
}

// drop forgets what a leg has sent and could not go on.
func (l *loop) drop(from *leg) {
	l.keepRoom(from)
	if from.pipe != nil {
		l.pipes.put(from.pipe)
		from.pipe = nil
	}
}

// watch puts a leg into epoll, edge-triggered and for good: but for the first
// write that is refused, nothing is ever changed there.
func (l *loop) watch(c *Conn, s Side, out bool) bool {
	g := &c.legs[s]
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET&math.MaxUint32, Fd: c.index, Pad: int32(g.gen<<kindBits | uint32(s))}
	if out {
		ev.Events |= unix.EPOLLOUT
	}
	if g.watched {
		if out && !g.wantOut {
			g.wantOut = true
			return epollModify(l.ep, g.fd, ev) == 0
		}
		return true
	}
	g.watched, g.wantOut = true, out
	return epollAdd(l.ep, g.fd, ev) == 0
}

const ends = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR

// event is told of a leg: what can be done on it, is.
func (l *loop) event(c *Conn, s Side, events uint32) {
	g := &c.legs[s]
	if events&unix.EPOLLERR != 0 && (c.state != stateOpen || g.ended || len(g.held) > 0 || g.pipe != nil) {
		l.broken(c, s, pending(g.fd)) // else what it has sent goes on first
		return
	}
	if events&(unix.EPOLLIN|ends) != 0 {
		g.readable = !g.ended
		g.final = g.final || events&ends != 0
	}
	gen := c.gen
	if events&unix.EPOLLOUT != 0 {
		if c.state == stateDialing && s == Backend {
			l.connected(c)
		}
		g.blocked = false
		l.pump(c, s.other())
	}
	if c.gen == gen && g.readable {
		l.pump(c, s)
	}
}
