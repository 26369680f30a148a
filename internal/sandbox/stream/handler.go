package stream

import (
	"errors"
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
	// Passed says that all went on that the last verdict on a side let pass.
	Passed(c *Conn, from Side)
	// Lost says that the backend could not be reached (ErrUnreached) or was reset,
	// that a side has ended its stream (io.EOF), or that the client was silent for
	// longer than expected (os.ErrDeadlineExceeded). The zero Verdict passes that on
	// as it is. Of others, the first of these counts: End answers the client, To and
	// Insert try another backend, and Leave goes on without one.
	Lost(c *Conn, from Side, err error) Verdict
	// Closed says that the connection is over.
	Closed(c *Conn)
}

// ErrUnreached is wrapped by the error of a backend that took no connection.
var ErrUnreached = errors.New("not reached")

// MaxHead is how much of what a side says can be held for a verdict.
const MaxHead = bufferSize

// PassAll as Verdict.Pass is the rest of the stream.
const PassAll = unlimited

// Verdict says what to do with bytes that a Handler was shown. The fields are
// looked at in this order.
type Verdict struct {
	// Reply is sent back to the client. With End it is the last that it hears; with
	// Reset it hears nothing more.
	Reply      []byte
	End, Reset bool
	// Wait leaves the bytes until Token.Resume, More until there are more of them.
	Wait, More bool
	// To is where the connection leads from here on. A backend that it had before,
	// elsewhere, is closed. Leave closes it for none.
	To    *Target
	Leave bool
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
		c := t.conn
		for s := range c.legs {
			if c.gen == t.gen && c.legs[s].waiting {
				c.legs[s].waiting = false
				t.loop.pump(c, Side(s))
			}
		}
	})
}

// Resume is Token.Resume for a handler's own calls: it is due after the call, and
// costs nothing where nothing waits.
func (c *Conn) Resume() {
	if c.legs[Client].waiting || c.legs[Backend].waiting {
		c.Token().Resume()
	}
}

// Pair tells Config.Paired of the connection's sockets once more: somebody may
// hear it now who did not before.
func (c *Conn) Pair() {
	cfg := &c.loop.engine.cfg
	if cfg.Paired == nil || cfg.Heard != nil && !cfg.Heard() || c.legs[Backend].fd == noFile {
		return
	}
	for i := range c.legs {
		if c.cookies[i] == 0 {
			c.cookies[i] = cookie(c.legs[i].fd)
		}
	}
	cfg.Paired(c.cookies[Client], c.cookies[Backend])
}

// Peer is the client's address.
func (c *Conn) Peer() netip.AddrPort { return c.peer }

// Target is where the connection leads; nil until the handler has said.
func (c *Conn) Target() *Target { return c.target }

// ExpectWithin has the handler's Lost asked once nothing was passed on for so
// long, to the second, the time of a dial apart; 0 lifts that. The zero Verdict
// then cuts the connection. A new one has Config.HeadTimeout.
func (c *Conn) ExpectWithin(d time.Duration) {
	c.expect = d
	if c.state == stateHead || c.state == stateOpen {
		c.expectAnew()
	}
}

func (c *Conn) expectAnew() {
	c.deadline = 0
	if c.expect > 0 {
		c.deadline = c.loop.now + c.expect
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
	case v.Reset:
		l.abort(c, Answered)
		return nil
	case v.Wait:
		from.waiting = true
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
	*g = leg{fd: noFile}
	c.target, c.state = nil, stateHead
	c.expectAnew()
	c.nodelay, c.capped, c.tuned, c.connect, c.sent, c.firstByte = false, false, false, 0, 0, 0
	c.legs[Client].bytes = 0 // of the connection to a backend, as the times
}

// answer ends a connection with a last word to the client, and sees that it gets
// through: a socket that is closed with bytes unread resets.
func (l *loop) answer(c *Conn, v Verdict, why Reason) {
	l.leave(c, why)
	g := &c.legs[Client]
	l.drop(g)
	if len(v.Reply) == 0 && g.ended {
		l.finish(c, why)
		return
	}
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

// replace gives a connection another backend, which is told v.Insert first.
func (l *loop) replace(c *Conn, v Verdict, why Reason) {
	l.leave(c, why)
	from := &c.legs[Client]
	if len(from.held) > 0 || from.pipe != nil || len(v.Insert) > bufferSize {
		l.abort(c, why) // there is no place for both
		return
	}
	l.hold(from, v.Insert)
	from.pass, from.waiting, from.more = int64(len(v.Insert)), false, false
	gen := c.gen
	if l.dial(c, v.To); c.gen != gen || c.legs[Backend].fd == noFile {
		return
	}
	l.watch(c, Backend, c.state == stateDialing)
	l.pump(c, Client)
}
