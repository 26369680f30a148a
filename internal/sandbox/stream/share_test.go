package stream

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// noting leads every connection to the target that its first byte names, and notes
// whose bytes it is shown, in order.
type noting struct {
	targets map[byte]*Target
	shown   []byte // on the only loop
}

func (n *noting) Data(_ *Conn, from Side, b []byte) Verdict {
	if from == Backend {
		return Verdict{Pass: int64(len(b))}
	}
	n.shown = append(n.shown, b[0])
	return Verdict{To: n.targets[b[0]], Pass: int64(len(b))}
}

func (*noting) Passed(*Conn, Side) {}

func (*noting) Lost(*Conn, Side, error) Verdict { return Verdict{} }

func (*noting) Closed(*Conn) {}

// noted is an engine of one loop that listens for connections to two echoing targets.
func noted(t *testing.T) (*Engine, *noting, *Listener) {
	t.Helper()
	e, err := New(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	h := &noting{targets: map[byte]*Target{'f': echoTarget(t, e), 'o': echoTarget(t, e)}}
	l, err := e.Listen(ListenConfig{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	return e, h, l
}

// However many connections of one target have something to say, another's waits
// for no more than a share of them.
func TestFloodOfOneTargetLeavesOthersTheirTurn(t *testing.T) {
	const flood = 200
	e, h, l := noted(t)
	var conns []net.Conn
	for i := range flood + 1 {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns = append(conns, c)
		say(t, c, i == flood)
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil { // it has its backend now
			t.Fatal(err)
		}
	}
	held, goOn := make(chan struct{}), make(chan struct{})
	e.loops[0].do(func() {
		h.shown = nil
		close(held)
		<-goOn
	})
	<-held
	for i, c := range conns { // the other one says its word last
		say(t, c, i == flood)
	}
	close(goOn)
	for _, c := range conns {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	var shown []byte
	done := make(chan struct{})
	e.loops[0].do(func() { shown = slices.Clone(h.shown); close(done) })
	<-done
	// A share of the flood may be served before it in each round of events: in the one
	// that tells of it, and where epoll did not tell all at once, in some before.
	if at := slices.Index(shown, 'o'); len(shown) != flood+1 || at < 0 || at > 4*share {
		t.Errorf("of %d connections the other one was the %d-th", len(shown), at+1)
	}
}

func say(t *testing.T, c net.Conn, other bool) {
	t.Helper()
	word := "f"
	if other {
		word = "o"
	}
	if _, err := io.WriteString(c, word); err != nil {
		t.Fatal(err)
	}
}

// echoTarget is one that sends back what it gets.
func echoTarget(t *testing.T, e *Engine) *Target {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // the test judges
			}()
		}
	}()
	target, err := e.Target("", netip.MustParseAddrPort(l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// An event of a backend that was left, told late, is nothing to the connection, nor to
// the backend that it has next.
func TestLateEventOfABackendThatWasLeft(t *testing.T) {
	e, _, l := noted(t)
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ask := func(other bool) {
		t.Helper()
		say(t, c, other)
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	loop := e.loops[0]
	onLoop := func(fn func()) {
		done := make(chan struct{})
		loop.do(func() { defer close(done); fn() })
		<-done
	}
	ask(false)
	var late event
	onLoop(func() {
		conn := loop.slots[0]
		late = event{conn, conn.legs[Backend].gen, Backend, unix.EPOLLIN | unix.EPOLLERR | unix.EPOLLRDHUP}
		loop.leave(conn, ClientEnded)
		loop.serve(late)
	})
	ask(true)
	onLoop(func() { loop.serve(late) })
	ask(true)
}
