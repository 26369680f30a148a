package flowtest

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"tapwatch/internal/netns"
)

// Conn is a client's connection to the front of a path.
type Conn struct {
	c      *net.TCPConn
	r      *bufio.Reader
	next   uint32
	http   bool
	pooled bool // the next request may be carried by another

	Client, Front netip.AddrPort // the client's own connection
	// Peer and Server are the last leg's: whom the server saw, and where. They are
	// invalid until a reply told them, and stay, unless pooled.
	Peer, Server netip.AddrPort
}

// Dial opens n connections from inside a namespace, which the test's end closes.
func Dial(t testing.TB, ns string, to netip.AddrPort, n int) []*Conn {
	t.Helper()
	conns := make([]*Conn, n)
	for i := range conns {
		c, err := netns.DialTCP(t.Context(), ns, to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = &Conn{
			c: c, r: bufio.NewReaderSize(c, 64<<10),
			Client: endpoint(c.LocalAddr()).AddrPort(), Front: endpoint(c.RemoteAddr()).AddrPort(),
		}
	}
	return conns
}

// Answer is how a request went, as its client saw it.
type Answer struct {
	First time.Duration // until the first message of the reply was there
	Total time.Duration // until the last was
	Slept time.Duration // what the server slept
}

// Ask sends a request and reads all that answers it.
func (c *Conn) Ask(q Request) (Answer, error) {
	start := time.Now()
	if err := c.Send(q); err != nil {
		return Answer{}, err
	}
	a, err := c.Await(q, c.next-1, start)
	return a, err
}

// Send sends requests, all at once, and reads nothing.
func (c *Conn) Send(qs ...Request) error {
	_ = c.c.SetDeadline(time.Now().Add(time.Minute)) // of a socket that is open
	var b []byte
	for _, q := range qs {
		q.Number, q.Client = c.next, endpoint(c.c.LocalAddr())
		c.next++
		var err error
		if b, err = appendMessage(b, q.Size, q); err != nil {
			return err
		}
	}
	if c.http {
		b = wrapRequest(b)
	}
	if _, err := c.c.Write(b); err != nil {
		return fmt.Errorf("%s, request %d: %w", c.Client, c.next-1, err)
	}
	return nil
}

// Await reads all that answers request number n, which was sent at start.
func (c *Conn) Await(q Request, n uint32, start time.Time) (Answer, error) {
	var a Answer
	for chunk := range max(q.Chunks, 1) {
		r, err := c.receive()
		if err != nil {
			return a, fmt.Errorf("%s, reply %d: %w", c.Client, n, err)
		}
		if r.Number != n || r.Chunk != chunk {
			return a, fmt.Errorf("%s: message %d of reply %d came for %d of %d", c.Client, r.Chunk, r.Number, chunk, n)
		}
		if chunk == 0 {
			a.First, a.Slept = time.Since(start), r.Slept
		}
	}
	a.Total = time.Since(start)
	return a, nil
}

// receive reads one message and holds it to being for us.
func (c *Conn) receive() (Reply, error) {
	var r Reply
	from := read
	if c.http {
		from = unwrapResponse
	}
	if err := from(c.r, &r); err != nil {
		return r, err
	}
	peer, local := r.Peer.AddrPort(), r.Local.AddrPort()
	switch {
	case r.Client.AddrPort() != c.Client:
		return r, fmt.Errorf("got what is for %s", r.Client.AddrPort())
	case !c.Peer.IsValid() || c.pooled:
		c.Peer, c.Server = peer, local
	case c.Peer != peer || c.Server != local:
		return r, fmt.Errorf("was carried by %s to %s, then by %s to %s", c.Peer, c.Server, peer, local)
	}
	return r, nil
}

// Close closes the connection before the test's end does.
func (c *Conn) Close() { c.c.Close() }
