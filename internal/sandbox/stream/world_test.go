package stream

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

// world is an engine between a client and a backend, on the loopback.
type world struct {
	engine   *Engine
	target   *Target
	listener *Listener
	backend  *net.TCPListener
}

func newWorld(t testing.TB, cfg Config) *world {
	t.Helper()
	w := &world{}
	var err error
	if w.backend, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(anyPort)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.backend.Close() })
	if w.engine, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.engine.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.target, err = w.engine.Target("", w.backend.Addr().(*net.TCPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	if w.listener, err = w.engine.Listen(ListenConfig{Addr: anyPort, To: w.target}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(w.listener.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	return bound(t, c)
}

// pair returns both ends of one connection through the engine.
func (w *world) pair(t testing.TB) (client, guest *net.TCPConn) {
	t.Helper()
	client = w.dial(t)
	guest, err := w.backend.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	return client, bound(t, guest)
}

// bound keeps a test that would hang from hanging for long.
func bound(t testing.TB, c *net.TCPConn) *net.TCPConn {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t testing.TB, c *net.TCPConn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func wantRead(t testing.TB, c *net.TCPConn, s string) {
	t.Helper()
	got := make([]byte, len(s))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != s {
		t.Fatalf("read %q, %v, want %q", got, err, s)
	}
}

func wantReset(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read: %v, want a reset", err)
	}
}
