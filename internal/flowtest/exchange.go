package flowtest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/internal/proctest"
)

// Exchange is what a client may do with a connection beside asking and waiting.
type Exchange struct {
	Name string
	// Least and Most are how many requests a watcher of the wire can tell apart: the
	// next one begins with what the client says after an answer has begun.
	Least, Most int
	Run         func(c *Conn) error
}

const (
	asked  = 10
	said   = 20
	chunks = 100
)

// Exchanges are those kinds that clients of sandboxes have.
func Exchanges() []Exchange {
	return []Exchange{
		{"keep-alive", asked, asked, keepAlive},
		{"pipelined", 1, 1, pipeline},
		{"stream", 1, 1, stream},
		{"upload", 1, 1, upload},
		{"websocket", 1, 1 + said, bothWaysAtOnce},
		{"silent", 0, 0, func(*Conn) error { return nil }},
	}
}

func keepAlive(c *Conn) error {
	for range asked {
		if _, err := c.Ask(Request{}); err != nil {
			return err
		}
	}
	return nil
}

// pipeline sends all of its requests, at once, before it reads the first reply.
func pipeline(c *Conn) error {
	start := time.Now()
	q := Request{Delay: 2 * time.Millisecond}
	if err := c.Send(slices.Repeat([]Request{q}, asked)...); err != nil {
		return err
	}
	for n := range uint32(asked) {
		if _, err := c.Await(q, n, start); err != nil {
			return err
		}
	}
	return nil
}

// stream asks once and reads for a tenth of a second.
func stream(c *Conn) error {
	a, err := c.Ask(Request{Reply: 500, Chunks: chunks, Gap: time.Millisecond})
	if err == nil && a.Total-a.First < chunks/2*time.Millisecond {
		return fmt.Errorf("all chunks came at once: %+v", a)
	}
	return err
}

func upload(c *Conn) error {
	_, err := c.Ask(Request{Size: 1 << 20})
	return err
}

// bothWaysAtOnce has the server send while the client does: two conversations
// that have nothing to do with each other.
func bothWaysAtOnce(c *Conn) error {
	if err := c.Send(Request{Reply: 200, Chunks: chunks, Gap: time.Millisecond, Async: true}); err != nil {
		return err
	}
	var both errgroup.Group
	both.Go(func() error {
		for range said {
			time.Sleep(3 * time.Millisecond)
			if err := c.Send(Request{Size: 100, Reply: 100}); err != nil {
				return err
			}
		}
		return nil
	})
	both.Go(func() error {
		for n := range chunks + said {
			if _, err := c.receive(); err != nil {
				return fmt.Errorf("message %d of %d: %w", n, chunks+said, err)
			}
		}
		return nil
	})
	return both.Wait()
}

// AskFrozen is Ask while a process on the way does not run: it is let go on so
// long after the request was sent. The time between the two is returned too.
func (c *Conn) AskFrozen(t testing.TB, q Request, p *proctest.Process, d time.Duration) (a Answer, stopped time.Duration, err error) {
	t.Helper()
	Freeze(t, p)
	start := time.Now()
	err = c.Send(q)
	time.Sleep(d)
	stopped = time.Since(start)
	Thaw(t, p)
	if err != nil {
		return a, stopped, err
	}
	a, err = c.Await(q, c.next-1, start)
	return a, stopped, err
}
