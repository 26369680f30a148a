package stream

import "golang.org/x/sys/unix"

const (
	turn        = 1 << 20 // bytes one direction may move before the others have theirs
	spliceChunk = 1 << 20
	// Full reads after which splicing begins, and the splices in a row that moved
	// less than smallSplice after which it ends: below that, copying is cheaper.
	fullReads   = 2
	smallReads  = 4
	smallSplice = 16 << 10

	keepRooms = 32 // for held bytes, that nobody uses, in a loop
)

// pump passes on what one side sends, until that has no more, the other takes no
// more, or it has had its turn.
func (l *loop) pump(c *Conn, s Side) {
	from := &c.legs[s]
	gen, moved := c.gen, 0
	for l.flush(c, s) && c.gen == gen {
		if from.ended {
			l.passEnd(c, s)
			return
		}
		if !from.readable || !l.mayRead(c, s) {
			return
		}
		if moved >= turn {
			p := l.partyOf(c)
			p.served = share // so much is a share by itself
			l.later(p, event{c, from.gen, s, unix.EPOLLIN})
			return
		}
		moved += l.move(c, s)
	}
}

// mayRead says whether what a side sends has somewhere to go.
func (l *loop) mayRead(c *Conn, s Side) bool {
	switch c.state {
	case stateOpen, stateClosing:
		return !c.legs[s].waiting
	case stateHead:
		return s == Client && !c.legs[s].waiting
	default:
		return false
	}
}

// flush passes on what was held; false says that some still is, or that the
// connection is over.
func (l *loop) flush(c *Conn, s Side) bool {
	from, to := &c.legs[s], &c.legs[s.other()]
	if from.pipe != nil && (to.blocked || !l.drain(c, s)) {
		return false
	}
	if len(from.held) == 0 || from.more {
		return true
	}
	if to.blocked || from.waiting || c.state == stateDialing {
		return false
	}
	gen := c.gen
	if !l.take(c, s, from.held) || c.gen != gen {
		return false
	}
	if !from.more {
		l.keepRoom(from)
	}
	return true
}

// move reads once, or splices once, and passes that on; it returns the bytes read.
func (l *loop) move(c *Conn, s Side) int {
	from := &c.legs[s]
	if from.full >= fullReads && c.state == stateOpen && !from.more && from.pass >= smallSplice {
		if p := l.pipes.get(); p != nil {
			from.pipe = p
			return l.fill(c, s)
		}
	}
	b := l.buf[:]
	if from.more {
		if len(from.held) == len(from.room) {
			room := l.takeRoom(bufferSize)
			from.room, from.held = room, room[:copy(room, from.held)]
		}
		b = from.room[len(from.held):]
	}
	n, errno := read(from.fd, b)
	switch {
	case again(errno):
		from.readable = false
		return 0
	case errno != 0:
		l.broken(c, s, errno)
		return 0
	case n == 0:
		l.hasEnded(c, s)
		return 0
	}
	if n < len(b) {
		from.full = 0
		from.readable = from.final // a later byte is a new event, an earlier end is not
	} else if from.full < fullReads {
		from.full++
		l.capBuffers(c)
	}
	if c.state == stateClosing {
		return n // nobody wants it
	}
	if from.more {
		from.more = false
		from.held = from.room[:len(from.held)+n]
		return n // flush passes it on
	}
	l.take(c, s, b[:n])
	return n
}

// take passes on b, which came from s, as far as that goes now; the rest is held.
// It says whether all went.
func (l *loop) take(c *Conn, s Side, b []byte) bool {
	from, to := &c.legs[s], &c.legs[s.other()]
	gen := c.gen
	for len(b) > 0 {
		if from.pass == 0 {
			if b = l.judge(c, s, b); c.gen != gen || c.state == stateClosing {
				return false
			}
			if from.more || from.waiting {
				l.hold(from, b)
				return from.more
			}
			continue
		}
		if to.blocked || c.state != stateOpen && (!c.guess || to.fd == noFile) {
			l.hold(from, b)
			return false
		}
		n := int(min(int64(len(b)), from.pass))
		sent, errno := write(to.fd, b[:n])
		if c.state == stateDialing { // a guess: the dial may be through already
			if again(errno) {
				l.hold(from, b)
				return false
			}
			if errno != 0 {
				l.unreached(c, errno)
				return false
			}
			l.connected(c)
		}
		if again(errno) {
			sent = 0
		} else if errno != 0 {
			l.broken(c, s.other(), errno)
			return false
		}
		l.passed(c, s, sent)
		b = b[sent:]
		if sent < n {
			l.block(c, s.other())
		}
	}
	return true
}

// block has a leg wait until it takes bytes again.
func (l *loop) block(c *Conn, s Side) {
	c.legs[s].blocked = true
	l.watch(c, s, true)
}

// passed counts bytes that went on.
func (l *loop) passed(c *Conn, s Side, n int) {
	if n == 0 {
		return
	}
	from := &c.legs[s]
	if from.bytes == 0 {
		l.firstBytes(c, s)
	} else if s == Client && !c.nodelay {
		c.nodelay = true // from the second write on bytes may be under way, and Nagle would wait for them
		noDelay(c.legs[Backend].fd)
	}
	from.bytes += int64(n)
	c.target.counters[l.id].bytes[s].Add(int64(n))
	if from.pass == unlimited {
		return
	}
	if from.pass -= int64(n); from.pass == 0 {
		c.listener.handler.Passed(c, s)
	}
}

// fill splices from a side into its pipe, once, and that on.
func (l *loop) fill(c *Conn, s Side) int {
	from := &c.legs[s]
	n, errno := splice(from.fd, from.pipe.w, int(min(spliceChunk, from.pass)))
	if errno != 0 || n == 0 {
		l.pipes.put(from.pipe)
		from.pipe = nil
		switch {
		case again(errno):
			from.readable = false
		case errno != 0:
			l.broken(c, s, errno)
		default:
			l.hasEnded(c, s)
		}
		return 0
	}
	from.pipe.n = n
	if n >= smallSplice {
		from.small = 0
	} else if from.small++; from.small >= smallReads {
		from.small, from.full = 0, 0
	}
	l.drain(c, s)
	return n
}

// drain splices what is in a side's pipe on; the pipe is given back when it is
// empty. False says that it is not, or that the connection is over.
func (l *loop) drain(c *Conn, s Side) bool {
	from, to := &c.legs[s], &c.legs[s.other()]
	for from.pipe.n > 0 {
		n, errno := splice(from.pipe.r, to.fd, from.pipe.n)
		if again(errno) {
			l.block(c, s.other())
			return false
		}
		if errno != 0 || n == 0 {
			l.broken(c, s.other(), errno)
			return false
		}
		from.pipe.n -= n
		l.passed(c, s, n)
	}
	l.pipes.put(from.pipe)
	from.pipe = nil
	return true
}

// hold keeps bytes that came from a leg until they can go on; they may be part
// of what it held before.
func (l *loop) hold(from *leg, b []byte) {
	if len(from.room) < len(b) {
		from.room = l.takeRoom(len(b)) // b may be in the former one, which is left to it
	}
	from.held = from.room[:copy(from.room, b)]
}

// smallRoom is enough for most heads: who sends half of one, or many wait for a
// sandbox to boot, is not to take bufferSize each.
const smallRoom = 2 << 10

// takeRoom returns room for n bytes, smallRoom or bufferSize; keepRoom takes it
// back.
func (l *loop) takeRoom(n int) []byte {
	if n <= smallRoom {
		return make([]byte, smallRoom)
	}
	if n := len(l.spare); n > 0 {
		room := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return room
	}
	return make([]byte, bufferSize)
}

func (l *loop) keepRoom(from *leg) {
	if len(from.room) == bufferSize && len(l.spare) < keepRooms {
		l.spare = append(l.spare, from.room)
	}
	from.room, from.held = nil, nil
}
