package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"tapwatch/internal/e2b"
	"tapwatch/internal/sandbox/stream"
)

// part is where one side of a connection is in what it says.
type part uint8

const (
	partHead   part = iota // before a message
	partChunks             // in a chunked body
	partRest               // in the last bytes of a message
	partRaw                // in what is no HTTP, or ends with the connection
)

// session is one client's connection. It is used on its loop only.
type session struct {
	at       [2]part // by stream.Side
	chunks   [2]chunks
	way      *way      // of the request under way, or of the last one
	question *question // not yet answered, or not yet looked at

	spoken   bool // the client has made a request
	partial  bool // the client has begun a head
	asked    bool // a request is under way: until it and its answer are over
	answered bool // its answer has begun to pass
	over     bool // its answer has passed
	toHead   bool // it is a HEAD
	upgrade  bool // it asks for another protocol
	ending   bool // the sandbox ends its connection after this answer
	left     bool // the client has ended its stream
	again    []byte
}

// sessionOf returns the session of a connection.
func sessionOf(c *stream.Conn) *session {
	if s, ok := c.State.(*session); ok {
		return s
	}
	s := &session{}
	c.State = s
	return s
}

// Data implements stream.Handler.
func (p *Proxy) Data(c *stream.Conn, from stream.Side, b []byte) stream.Verdict {
	s := sessionOf(c)
	switch s.at[from] {
	case partRaw:
		return stream.Verdict{Pass: stream.PassAll}
	case partChunks:
		return p.chunk(c, s, from, b)
	case partHead, partRest:
	}
	if from == stream.Client {
		return p.request(c, s, b)
	}
	return p.response(c, s, b)
}

// request judges what begins with a request's head.
func (p *Proxy) request(c *stream.Conn, s *session, b []byte) stream.Verdict {
	if s.asked {
		return stream.Verdict{Wait: true} // one after the other: finished resumes it
	}
	h, err := parseRequest(b)
	switch {
	case errors.Is(err, errIncomplete) && len(b) < p.cfg.MaxHeader:
		if !s.partial {
			s.partial = true
			c.ExpectWithin(p.cfg.HeaderTimeout)
		}
		return stream.Verdict{More: true}
	case errors.Is(err, errNotHTTP) && !s.spoken:
		return p.raw(c, s)
	case errors.Is(err, errIncomplete), err == nil && h.size > p.cfg.MaxHeader:
		return refuse(http.StatusRequestHeaderFieldsTooLarge, failure{Message: fmt.Sprintf("the request's headers are longer than %d bytes", p.cfg.MaxHeader)}, false)
	case err != nil:
		return refuse(http.StatusBadRequest, failure{Message: err.Error()}, false)
	}
	toHead := string(h.method) == http.MethodHead
	id, port, err := parseRoute(&h, p.cfg.Domain)
	if err != nil {
		return refuse(http.StatusBadRequest, failure{Message: err.Error()}, toHead)
	}
	if id == "" && p.fromAfar(c) {
		return refuse(http.StatusBadRequest, failure{Message: "from another machine a request must name its sandbox by " + e2b.HeaderSandboxID + " or by Host {port}-{id}.{domain}"}, toHead)
	}
	w, err := p.wayTo(c, s, id, port)
	switch {
	case err != nil:
		return refuse(statusOf(err), failure{SandboxID: id, Message: err.Error(), Port: port}, toHead)
	case w == nil:
		return stream.Verdict{Wait: true}
	case c.Target() != w.stream && !w.stream.Admit():
		return refuse(http.StatusTooManyRequests, failure{
			SandboxID: w.SandboxID, Message: "the sandbox has too many connections: " + p.cfg.connections(), Port: port,
		}, toHead)
	case !w.to.enter(p.cfg.MaxRequests):
		return refuse(http.StatusTooManyRequests, failure{
			SandboxID: w.SandboxID, Message: fmt.Sprintf("the sandbox has %d requests open already", p.cfg.MaxRequests), Port: port,
		}, toHead)
	}
	c.ExpectWithin(p.cfg.FirstByteTimeout)
	return s.begin(c, &h, w, b[:min(h.size, len(b))])
}

// begin passes a request's head on, and its body as far as that can be told.
func (s *session) begin(c *stream.Conn, h *head, w *way, raw []byte) stream.Verdict {
	method := string(h.method)
	s.again = s.again[:0]
	if c.Target() == w.stream {
		c.Pair() // an agent may have come since the connection was made
		if h.length == 0 && !h.chunked && (method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions) {
			s.again = append(s.again, raw...) // the sandbox may be about to end the connection that it has
		}
	}
	s.way, s.spoken, s.partial, s.asked, s.answered, s.over = w, true, false, true, false, false
	s.toHead, s.upgrade, s.ending = method == http.MethodHead, h.upgrade, false
	v := stream.Verdict{To: w.stream, Pass: int64(h.size)}
	if h.chunked {
		s.at[stream.Client], s.chunks[stream.Client] = partChunks, chunks{}
	} else {
		s.at[stream.Client] = partRest
		v.Pass += h.length
	}
	return v
}

// fromAfar says that a client must name its sandbox: whoever reaches this port could
// use the only one otherwise.
func (p *Proxy) fromAfar(c *stream.Conn) bool { return p.cfg.Named && !c.Peer().Addr().IsLoopback() }

// raw takes a connection that is no HTTP to the only sandbox. Nobody can be told
// why that does not go: it is reset.
func (p *Proxy) raw(c *stream.Conn, s *session) stream.Verdict {
	if p.fromAfar(c) { // it names no sandbox
		return stream.Verdict{Reset: true}
	}
	w, err := p.wayTo(c, s, "", e2b.EnvdPort)
	switch {
	case err != nil:
		p.cfg.Log.Debug("a connection that is no HTTP leads nowhere", "client", c.Peer(), "err", err)
		return stream.Verdict{Reset: true}
	case w == nil:
		return stream.Verdict{Wait: true}
	case !w.stream.Admit(), !w.to.enter(p.cfg.MaxRequests):
		return stream.Verdict{Reset: true}
	}
	s.way, s.asked = w, true
	s.at = [2]part{partRaw, partRaw}
	c.ExpectWithin(0)
	return stream.Verdict{To: w.stream, Pass: stream.PassAll}
}

// response judges what begins with an answer's head.
func (p *Proxy) response(c *stream.Conn, s *session, b []byte) stream.Verdict {
	if !s.asked || s.over {
		s.ending = true // it says so without being asked: no more can be told of what it says
		return stream.Verdict{Skip: len(b)}
	}
	h, err := parseAnswer(b, s.toHead)
	switch {
	case errors.Is(err, errIncomplete) && len(b) < p.cfg.MaxHeader:
		return stream.Verdict{More: true}
	case errors.Is(err, errIncomplete), err == nil && h.size > p.cfg.MaxHeader:
		err = fmt.Errorf("its headers are longer than %d bytes", p.cfg.MaxHeader)
	}
	if err != nil {
		return p.unanswered(s, fmt.Sprintf("the sandbox's answer cannot be passed on: %v", err))
	}
	v := stream.Verdict{Pass: int64(h.size)}
	if h.status/100 == 1 && h.status != http.StatusSwitchingProtocols {
		return v // the answer is yet to come
	}
	s.answered = true
	s.ending = h.close || h.old && !h.keep
	if p.draining.Load() && h.status != http.StatusSwitchingProtocols { // the client is to make another connection
		v.Skip = bytes.IndexByte(b, '\n') + 1
		v.Insert = append(bytes.Clone(b[:v.Skip]), "Connection: close\r\n"...)
		v.Pass -= int64(v.Skip)
	}
	c.ExpectWithin(0)
	switch at := &s.at[stream.Backend]; {
	case h.status == http.StatusSwitchingProtocols && s.upgrade:
		s.at = [2]part{partRaw, partRaw}
		v.Pass = stream.PassAll
		c.Resume() // what the client has said meanwhile
	case h.chunked:
		*at, s.chunks[stream.Backend] = partChunks, chunks{}
	case h.length == toEnd:
		*at = partRaw
		s.ending = true
		v.Pass = stream.PassAll
	default:
		*at = partRest
		v.Pass += h.length
	}
	return v
}

// chunk passes on what is known of a chunked body.
func (p *Proxy) chunk(c *stream.Conn, s *session, from stream.Side, b []byte) stream.Verdict {
	n, done, err := s.chunks[from].walk(b)
	switch {
	case err != nil:
		p.cfg.Log.Debug("a chunked body cannot be followed", "client", c.Peer(), "from", from, "err", err)
		return stream.Verdict{Reset: true}
	case n == 0:
		return stream.Verdict{More: true}
	case done:
		s.at[from] = partRest
	}
	return stream.Verdict{Pass: n}
}

// Passed implements stream.Handler.
func (p *Proxy) Passed(c *stream.Conn, from stream.Side) {
	s := sessionOf(c)
	if s.at[from] != partRest {
		return
	}
	s.at[from] = partHead
	s.over = s.over || from == stream.Backend
	if s.over && s.at[stream.Client] == partHead {
		s.asked = false
		s.way.to.leave()
		c.ExpectWithin(p.cfg.IdleTimeout)
		if s.left || p.draining.Load() { // it can ask for nothing more, or is not to
			c.ExpectWithin(atOnce)
		}
		c.Resume()
	}
}

// Lost implements stream.Handler.
func (p *Proxy) Lost(c *stream.Conn, from stream.Side, err error) stream.Verdict {
	s := sessionOf(c)
	silent := errors.Is(err, os.ErrDeadlineExceeded)
	s.left = s.left || from == stream.Client && !silent
	switch {
	case s.at[from] == partRaw && from == stream.Backend && s.ending:
		return stream.Verdict{End: errors.Is(err, io.EOF)} // the end of an answer
	case s.at[from] == partRaw:
		return stream.Verdict{}
	case silent && s.partial:
		return refuse(http.StatusRequestTimeout, failure{Message: fmt.Sprintf("the request's headers did not come within %v", p.cfg.HeaderTimeout)}, false)
	case !s.asked && (s.left || silent || s.ending):
		return stream.Verdict{End: true}
	case !s.asked:
		return stream.Verdict{Leave: true}
	case from == stream.Client && !silent, s.answered:
		return stream.Verdict{} // that an answer is not whole shows by its length
	case len(s.again) > 0 && !silent && s.at[stream.Client] == partHead:
		v := stream.Verdict{To: s.way.stream, Insert: s.again}
		s.again = nil
		s.at[stream.Client] = partRest
		return v
	}
	p.cfg.Log.Debug("cannot reach the sandbox", "sandbox_id", s.way.SandboxID, "addr", s.way.Addr, "err", err)
	return p.unanswered(s, explain(err, s.way.Target))
}

// unanswered tells a client that its request met no answer.
func (p *Proxy) unanswered(s *session, why string) stream.Verdict {
	return refuse(http.StatusBadGateway, failure{SandboxID: s.way.SandboxID, Message: why, Port: int(s.way.Addr.Port())}, s.toHead)
}

// Closed implements stream.Handler.
func (p *Proxy) Closed(c *stream.Conn) {
	s, ok := c.State.(*session)
	if !ok {
		return
	}
	if s.question != nil {
		s.question.cancel()
	}
	if s.asked {
		s.way.to.leave()
	}
}

// refuse is an answer of ours, after which the connection ends.
func refuse(status int, f failure, toHead bool) stream.Verdict {
	return stream.Verdict{Reply: answer(status, f, toHead), End: true}
}

// wayTo finds the way to a port of a sandbox; nil: it is being looked for, and the
// connection is resumed then.
func (p *Proxy) wayTo(c *stream.Conn, s *session, id string, port int) (*way, error) {
	if q := s.question; q != nil { // bytes that wait do not change: it is for these
		f := q.answer.Load()
		if f == nil {
			return nil, nil
		}
		s.question = nil
		return f.way, f.err
	}
	if id != "" {
		if w := p.backends.known(id, port); w != nil {
			return w, nil
		}
	}
	c.ExpectWithin(0) // the resolver has limits of its own
	s.question = p.backends.ask(id, port, c.Token().Resume)
	return nil, nil
}
