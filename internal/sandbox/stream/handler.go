package stream

import (
	"net/netip"
	"time"
)

// Handler decides where the connections of a listener go, by what they say. Its
// methods are called on a loop, which they must not keep waiting; they must not
// keep b.
type Handler interface {
	// Data judges b, what a side has sent and nobody has judged yet: at least one
	// byte, at most MaxHead. It is called again for what the verdict leaves of it.
	Data(c *Conn, from Side, b []byte) Verdict
	// Lost says that the backend could not be reached, was reset, or (io.EOF) has
	// ended its stream. The zero Verdict passes that on as it is; one with End
	// answers the client instead.
	Lost(c *Conn, err error) Verdict
}

// MaxHead is how much of what a side says can be held for a verdict.
const MaxHead = bufferSize

// PassAll as Verdict.Pass is the rest of the stream.
const PassAll = unlimited

// Verdict says what to do with bytes that a Handler was shown. The fields are
// looked at in this order.
type Verdict struct {
	// Reply is sent back to the client. With End it is the last that it hears.
	Reply []byte
	End   bool
	// Wait leaves the bytes until Token.Resume, More until there are more of them.
	Wait, More bool
	// To is where the connection leads from here on. A backend that it had before,
	// elsewhere, is closed.
	To *Target
	// Skip drops so many bytes, Insert passes others in their place.
	Skip   int
	Insert []byte
	// Pass lets so many bytes (of b and of what follows it) pass unseen.
	Pass int64
}

// Token names a connection outside of its loop.
type Token struct {
	conn *Conn
	loop *loop
	gen  uint32
}

// Token of a connection whose handler waits.
func (c *Conn) Token() Token { return Token{c, c.loop, c.gen} }

// Resume has the handler judge again what it left by Wait. It does nothing where
// the connection is over.
func (t Token) Resume() {
	t.loop.do(func() {
		if c := t.conn; c.gen == t.gen && c.waiting {
			c.waiting = false
			t.loop.pump(c, Client)
			if c.gen == t.gen {
				t.loop.pump(c, Backend)
			}
		}
	})
}

// Peer is the client's address.
func (c *Conn) Peer() netip.AddrPort { return c.peer }

// Target is where the connection leads; nil until the handler has said.
func (c *Conn) Target() *Target { return c.target }

// ExpectWithin has the connection cut if no verdict lets bytes pass for so long,
// to the second; 0 lifts that. A new connection has headTime.
func (c *Conn) ExpectWithin(d time.Duration) {
	c.deadline = 0
	if d > 0 {
		c.deadline = c.loop.now + d
	}
}

// judge asks the handler about b and does what it says. It returns what is left to
// be passed or judged.
func (l *loop) judge(c *Conn, s Side, b []byte) []byte {
	from := &c.legs[s]
	v := c.listener.handler.Data(c, s, b)
	switch {
	case v.End:
		l.answer(c, v, Answered)
		return nil
	case v.Wait:
		c.waiting = true
		return b
	case v.More && len(b) < MaxHead:
		from.more = true
		return b
	case v.More:
		l.abort(c, Cut)
		return nil
	}
	if len(v.Reply) > 0 {
		if n, errno := write(c.legs[Client].fd, v.Reply); errno != 0 || n < len(v.Reply) {
			l.abort(c, ClientReset) // it does not even read short answers
			return nil
		}
	}
	if v.To != nil && !l.redirect(c, v.To) {
		return nil
	}
	b = b[min(v.Skip, len(b)):]
	from.pass = v.Pass
	if len(v.Insert) > 0 {
		b = append(append(make([]byte, 0, len(v.Insert)+len(b)), v.Insert...), b...)
		if from.pass != unlimited {
			from.pass += int64(len(v.Insert))
		}
	}
	return b
}

// redirect gives a connection a backend; false says that it is over.
func (l *loop) redirect(c *Conn, t *Target) bool {
	if c.target == t && c.legs[Backend].fd != noFile && !c.legs[Backend].ended {
		return true
	}
	l.leave(c, ClientEnded)
	gen, guessing := c.gen, c.guess
	l.dial(c, t)
	if c.gen != gen || c.state == stateClosing {
		return false
	}
	if !guessing && c.legs[Backend].fd != noFile {
		return l.watch(c, Backend, c.state == stateDialing)
	}
	return true
}

// leave closes the backend that a connection has, in order.
func (l *loop) leave(c *Conn, why Reason) {
	g := &c.legs[Backend]
	if c.target != nil {
		l.account(c, why)
	}
	if g.fd != noFile {
		closeFD(g.fd)
	}
	l.drop(g)
	l.drop(&c.legs[Client])
	*g = leg{fd: noFile}
	c.target, c.state = nil, stateHead
	c.nodelay, c.capped, c.tuned, c.sent = false, false, false, 0
}

// answer ends a connection with a last word to the client, and sees that it gets
// through: a socket that is closed with bytes unread resets.
func (l *loop) answer(c *Conn, v Verdict, why Reason) {
	l.leave(c, why)
	g := &c.legs[Client]
	n, errno := write(g.fd, v.Reply)
	if errno != 0 || n < len(v.Reply) || shutdownWrite(g.fd) != 0 {
		l.abort(c, Answered)
		return
	}
	c.state, c.deadline = stateClosing, l.now+lingerTime
	l.closing.push(c)
	if g.ended {
		l.finish(c, Answered)
		return
	}
	l.watch(c, Client, false)
}
