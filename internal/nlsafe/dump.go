package nlsafe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// attempts bounds how often a dump is asked for before an interrupted one is returned.
const attempts = 8

// Dump asks for a list and returns its messages, whose bodies are copies. When
// changes interrupted the last attempt too, the messages are returned together
// with ErrInterrupted: any of them may be old and some may be missing.
func (c *Conn) Dump(typ uint16, body []byte) ([]Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for try := 1; ; try++ {
		ms, err := c.ask(typ, unix.NLM_F_DUMP, body)
		if !errors.Is(err, ErrInterrupted) || try == attempts {
			return ms, err
		}
		c.stats.Interrupted++
	}
}

// ask sends a request and gathers its answer.
func (c *Conn) ask(typ, flags uint16, body []byte) ([]Message, error) {
	if c.fd < 0 {
		return nil, fmt.Errorf("send netlink request: %w", unix.EBADF)
	}
	c.settle()
	seq, err := c.send(typ, flags, body)
	if err != nil {
		return nil, err
	}
	return c.gather(seq)
}

// gather reads until the request's end: NLMSG_DONE of a dump, or NLMSG_ERROR,
// which is the acknowledgement as well. Leftovers of earlier requests, whose
// answers were given up, are passed over.
func (c *Conn) gather(seq uint32) ([]Message, error) {
	a := answer{seq: seq}
	defer func() { c.unread = !a.ended }()
	for !a.ended {
		b, err := c.receive()
		if err != nil {
			return nil, err
		}
		for len(b) > 0 && !a.ended {
			var m Message
			if m, b, err = Next(b); err != nil {
				return nil, err
			}
			if err := a.add(m); err != nil {
				return nil, err
			}
		}
	}
	if a.interrupted {
		return a.messages, ErrInterrupted
	}
	return a.messages, nil
}

// answer is what has come in of one request's answer.
type answer struct {
	seq         uint32
	messages    []Message
	interrupted bool
	ended       bool
}

func (a *answer) add(m Message) error {
	if m.Seq != a.seq {
		return nil
	}
	a.interrupted = a.interrupted || m.Flags&unix.NLM_F_DUMP_INTR != 0
	switch m.Type {
	case unix.NLMSG_DONE, unix.NLMSG_ERROR:
		a.ended = true
		return errnoOf(m)
	case unix.NLMSG_OVERRUN:
		return fmt.Errorf("netlink answer: %w", unix.ENOBUFS)
	case unix.NLMSG_NOOP:
		return nil
	}
	m.Body = bytes.Clone(m.Body)
	a.messages = append(a.messages, m)
	return nil
}

// errnoOf reads the code that both NLMSG_DONE and NLMSG_ERROR begin with; a
// NLMSG_DONE without one is a success.
func errnoOf(m Message) error {
	if len(m.Body) < 4 {
		if m.Type == unix.NLMSG_DONE {
			return nil
		}
		return fmt.Errorf("%w: error without code", ErrMalformed)
	}
	if code := int32(binary.NativeEndian.Uint32(m.Body)); code < 0 {
		return unix.Errno(-code)
	}
	return nil
}
