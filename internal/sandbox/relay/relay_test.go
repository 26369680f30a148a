package relay

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

// world is a namespace with a relay to a backend in it.
type world struct {
	ns      string
	relay   *Relay
	route   *Route
	backend *net.TCPListener
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{ns: nettest.Netns(t)}
	nettest.In(t, w.ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	var err error
	if w.relay, err = New(nil); err != nil {
		t.Fatal(err)
	}
	if w.backend, err = listenIn(w.ns, anyPort); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.backend.Close() })
	w.route, err = w.relay.Listen(w.ns, anyPort, w.backend.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.relay.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := dialIn(t.Context(), w.ns, w.route.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	bound(t, c)
	return c
}

// pair returns both ends of one relayed connection.
func (w *world) pair(t testing.TB) (client, guest *net.TCPConn) {
	t.Helper()
	client = w.dial(t)
	guest, err := w.backend.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { guest.Close() })
	bound(t, guest)
	return client, guest
}

// bound keeps a test that would hang from hanging for long.
func bound(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, c *net.TCPConn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func wantRead(t *testing.T, c *net.TCPConn, s string) {
	t.Helper()
	got := make([]byte, len(s))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != s {
		t.Fatalf("read %q, %v, want %q", got, err, s)
	}
}

func wantEnd(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read %d bytes, %v, want the end of the stream", n, err)
	}
}

func wantReset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read: %v, want a reset", err)
	}
}

// Either side may end its stream and go on reading for as long as it likes.
func TestHalfClose(t *testing.T) {
	for _, c := range []struct {
		name string
		swap bool
	}{{"client first", false}, {"guest first", true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.pair(t)
			if c.swap {
				a, b = b, a
			}
			send(t, a, "question")
			if err := a.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantRead(t, b, "question")
			wantEnd(t, b)
			for range 3 {
				send(t, b, "answer")
				wantRead(t, a, "answer")
			}
			if err := b.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantEnd(t, a)
			eventually(t, "the connection ends", func() bool { return w.route.Stats().Open == 0 })
			if s := w.route.Stats(); s.Resets() != 0 || s.Bytes[0]+s.Bytes[1] != 8+3*6 {
				t.Errorf("counted %+v", s)
			}
		})
	}
}

func TestResetIsPassedOn(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(t *testing.T, resetting, other *net.TCPConn)
	}{
		{"of an idle connection", func(t *testing.T, r, o *net.TCPConn) { send(t, r, "x"); wantRead(t, o, "x") }},
		{"after its own end", func(t *testing.T, r, o *net.TCPConn) {
			if err := r.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantEnd(t, o)
		}},
		{"after the other's end", func(t *testing.T, r, o *net.TCPConn) {
			if err := o.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantEnd(t, r)
		}},
	} {
		for _, who := range []string{"client", "guest"} {
			t.Run(who+" "+c.name, func(t *testing.T) {
				w := newWorld(t)
				resetting, other := w.pair(t)
				if who == "guest" {
					resetting, other = other, resetting
				}
				c.before(t, resetting, other)
				abort(resetting)
				if strings.HasPrefix(c.name, "after its own") { // it has read the end: only a write shows the reset
					eventually(t, "a write fails", func() bool { _, err := other.Write([]byte("x")); return err != nil })
				} else {
					wantReset(t, other)
				}
				eventually(t, "the reset is counted", func() bool { s := w.route.Stats(); return s.Open == 0 && s.Resets() == 1 })
			})
		}
	}
}

// A transfer that is cut does not look like one that has ended.
func TestCutInTheMiddle(t *testing.T) {
	for _, who := range []string{"client", "guest"} {
		t.Run(who, func(t *testing.T) {
			w := newWorld(t)
			cutting, other := w.pair(t)
			if who == "guest" {
				cutting, other = other, cutting
			}
			go func() { _, _ = io.Copy(cutting, rand.NewChaCha8([32]byte{})) }() // until it is cut
			if _, err := io.CopyN(io.Discard, other, 8<<20); err != nil {
				t.Fatal(err)
			}
			abort(cutting)
			if n, err := io.Copy(io.Discard, other); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%d bytes more, and then %v", n, err)
			}
			eventually(t, "the reset is counted", func() bool { s := w.route.Stats(); return s.Open == 0 && s.Resets() == 1 })
		})
	}
}

func TestGuestThatCannotBeReached(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t)
		w.backend.Close()
		wantUnreached(t, w, syscall.ECONNREFUSED)
	})
	t.Run("no route", func(t *testing.T) {
		w := newWorld(t)
		route, err := w.relay.Listen(w.ns, anyPort, netip.MustParseAddrPort("169.254.0.21:49983"))
		if err != nil {
			t.Fatal(err)
		}
		w.route = route
		wantUnreached(t, w, syscall.ENETUNREACH)
	})
	t.Run("no carrier", func(t *testing.T) {
		w := newWorld(t)
		addTap(t, w.ns)
		route, err := w.relay.Listen(w.ns, anyPort, netip.MustParseAddrPort("169.254.0.21:49983"))
		if err != nil {
			t.Fatal(err)
		}
		w.route = route
		wantUnreached(t, w, syscall.EHOSTUNREACH) // the kernel takes 3 s for it
	})
}

func wantUnreached(t *testing.T, w *world, why error) {
	t.Helper()
	client, err := dialIn(t.Context(), w.ns, w.route.Addr())
	if err == nil { // else the reset came before we looked
		defer client.Close()
		bound(t, client)
		_, err = client.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("client: %v, want a reset", err)
	}
	if err := w.route.LastDialError(); !errors.Is(err, why) {
		t.Errorf("last dial error: %v, want %v", err, why)
	}
	if s := w.route.Stats(); s.Accepted != 1 || s.Failed() != 1 || s.Open != 0 {
		t.Errorf("counted %+v", s)
	}
}

// addTap makes a tap with an address and nobody attached.
func addTap(t *testing.T, ns string) {
	t.Helper()
	nettest.In(t, ns, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "tap0"
		tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP}
		addr, err := netlink.ParseAddr("169.254.0.22/30")
		return errors.Join(err, netlink.LinkAdd(tap), netlink.AddrAdd(tap, addr), netlink.LinkSetUp(tap))
	})
}

func TestBulkBothWaysAtOnce(t *testing.T) { bulkBothWays(t, 64<<20, 30*time.Second) }

// bulkBothWays sends size bytes each way at once, and compares what went in with
// what came out. Within bounds a transfer that hangs.
func bulkBothWays(t *testing.T, size int64, within time.Duration) {
	t.Helper()
	w := newWorld(t)
	client, guest := w.pair(t)
	var wg sync.WaitGroup
	for i, dir := range []struct{ from, to *net.TCPConn }{{client, guest}, {guest, client}} {
		if err := dir.from.SetDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		data := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size) }
		wg.Go(func() {
			if _, err := io.Copy(dir.from, data()); err != nil {
				t.Error(err)
			}
			if err := dir.from.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			got, want := sha256.New(), sha256.New()
			n, err := io.Copy(got, dir.to)
			_, _ = io.Copy(want, data()) // neither fails
			if n != size || err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
				t.Errorf("%d bytes came through, %v, or not the same", n, err)
			}
		})
	}
	wg.Wait()
	eventually(t, "all bytes are counted", func() bool { s := w.route.Stats(); return s.Bytes[0] == size && s.Bytes[1] == size })
}

// Three thousand connections come and go, fifty at a time, and nothing is left.
func TestManyConnectionsLeaveNothing(t *testing.T) {
	fds, goroutines := openFiles(t), runtime.NumGoroutine()
	t.Run("", func(t *testing.T) {
		w := newWorld(t)
		go echo(w.backend)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range 60 {
					roundTrip(t, w)
				}
			})
		}
		wg.Wait()
		eventually(t, "all connections end", func() bool { return w.route.Stats().Open == 0 })
		if s := w.route.Stats(); s.Accepted != 3000 || s.Failed() != 0 || s.Resets() != 0 {
			t.Errorf("counted %+v", s)
		}
	})
	eventually(t, "no file and no goroutine is left", func() bool {
		runtime.GC() // drops the pipes that splice keeps in a pool
		return openFiles(t) <= fds && runtime.NumGoroutine() <= goroutines
	})
}

func roundTrip(t *testing.T, w *world) {
	c, err := dialIn(t.Context(), w.ns, w.route.Addr())
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	_, err = c.Write([]byte("ping"))
	err = errors.Join(err, c.CloseWrite())
	if got, rerr := io.ReadAll(c); string(got) != "ping" || err != nil || rerr != nil {
		t.Errorf("got %q, %v, %v", got, err, rerr)
	}
}

func echo(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // the client judges
		}()
	}
}

// Close cuts what is open, also a dial under way, and returns with all of it gone.
func TestCloseCuts(t *testing.T) {
	w := newWorld(t)
	client, guest := w.pair(t)
	send(t, client, "x")
	wantRead(t, guest, "x")
	addTap(t, w.ns)
	silent, err := w.relay.Listen(w.ns, anyPort, netip.MustParseAddrPort("169.254.0.21:1"))
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := dialIn(t.Context(), w.ns, silent.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	bound(t, waiting)
	eventually(t, "the relay dials", func() bool { return silent.Stats().Accepted == 1 })
	if n := len(w.relay.Snapshot()); n != 2 {
		t.Errorf("%d routes, want 2", n)
	}
	if err := w.relay.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*net.TCPConn{client, guest, waiting} {
		wantReset(t, c)
	}
	if _, err := w.relay.Listen(w.ns, anyPort, anyPort); !errors.Is(err, ErrClosed) {
		t.Error("listen on a closed relay:", err)
	}
	if n := len(w.relay.Snapshot()); n != 0 {
		t.Errorf("%d routes are left", n)
	}
}

func TestListenErrors(t *testing.T) {
	w := newWorld(t)
	if _, err := w.relay.Listen("twtest-none", anyPort, anyPort); !errors.Is(err, netns.ErrNotExist) {
		t.Error("no namespace:", err)
	}
	if _, err := w.relay.Listen(w.ns, w.route.Addr(), anyPort); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error("address taken:", err)
	}
	if _, err := w.relay.Listen(w.ns, netip.MustParseAddrPort("10.12.0.3:0"), anyPort); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Error("address of others:", err)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}
