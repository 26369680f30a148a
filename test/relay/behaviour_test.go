package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// What one end sees.
const (
	sawEnd   = "end"
	sawReset = "reset"
	sawWord  = "all of it"
)

// behaviours are what each contender does to a connection, in the order of
// contenders: socat, HAProxy, nginx, ours. The table in docs/data-path.md holds
// the same words.
var behaviours = []struct {
	what string
	want [4]string
	try  func(t *testing.T, p *path) string
}{
	{"client ends its stream, guest answers a second later", [4]string{"cut: end", sawWord, "cut: end", sawWord},
		func(t *testing.T, p *path) string { return halfClosed(p.client, p.guest) }},
	{"guest ends its stream, client goes on a second later", [4]string{"cut: end", sawWord, "cut: end", sawWord},
		func(t *testing.T, p *path) string { return halfClosed(p.guest, p.client) }},
	{"client resets; the guest sees", [4]string{sawEnd, sawReset, sawEnd, sawReset},
		func(t *testing.T, p *path) string { abort(p.client); return sees(p.guest) }},
	{"guest resets; the client sees", [4]string{sawEnd, sawEnd, sawEnd, sawReset},
		func(t *testing.T, p *path) string { abort(p.guest); return sees(p.client) }},
	{"guest resets in the middle of an answer; the client sees", [4]string{sawEnd, sawEnd, sawEnd, sawReset},
		func(t *testing.T, p *path) string { return cutAmid(p.guest, p.client) }},
	{"client resets in the middle of an upload; the guest sees", [4]string{sawEnd, sawReset, sawEnd, sawReset},
		func(t *testing.T, p *path) string { return cutAmid(p.client, p.guest) }},
}

// path is a connection through a contender, both ends of which have heard of
// the other.
type path struct{ client, guest *net.TCPConn }

func others() []contender { return []contender{socats, haproxies, nginxes, ours} }

func TestBehaviour(t *testing.T) {
	w := newWorld(t)
	for i, c := range others() {
		t.Run(c.name, func(t *testing.T) {
			l := listenGuest(t, w)
			r := c.runTo(t, w, -1, l.Addr().(*net.TCPAddr).AddrPort())
			t.Parallel()
			for _, b := range behaviours {
				t.Run(b.what, func(t *testing.T) {
					if got := b.try(t, connect(t, w, r.addr, l)); got != b.want[i] {
						t.Errorf("%s, want %s", got, b.want[i])
					}
				})
			}
		})
	}
}

// TestRefused asks how soon a client learns that nobody listens in the guest.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	for i, c := range others() {
		t.Run(c.name, func(t *testing.T) {
			r := c.runTo(t, w, -1, netip.AddrPortFrom(guest, 9))
			begun := time.Now()
			conn := dialFrom(t, w, r.addr)
			got := "reset"
			if conn != nil {
				got = sees(conn)
			}
			if time.Since(begun) > time.Second {
				got += " after seconds"
			}
			if want := refused[i]; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

var refused = [4]string{sawEnd, sawEnd + " after seconds", sawEnd, sawReset}

// The table that people read says what the tests show.
func TestTableOfBehaviour(t *testing.T) {
	page, err := os.ReadFile("../../docs/data-path.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][4]string{"nobody listens in the guest; the client sees": refused}
	for _, b := range behaviours {
		rows[b.what] = b.want
	}
	for what, cells := range rows {
		if line := fmt.Sprintf("| %s | %s |", what, strings.Join(cells[:], " | ")); !strings.Contains(string(page), line) {
			t.Errorf("docs/data-path.md lacks: %s", line)
		}
	}
}

func listenGuest(t *testing.T, w *world) *net.TCPListener {
	var l net.Listener
	nettest.In(t, w.guest, func() (err error) { l, err = net.Listen("tcp4", guest.String()+":0"); return err })
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// dialFrom calls from the host; nil says that it was reset at once.
func dialFrom(t *testing.T, w *world, to netip.AddrPort) *net.TCPConn {
	c, err := netns.DialTCP(t.Context(), w.host, to)
	if errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// connect makes a connection through a contender. What else comes was to see
// whether it listens.
func connect(t *testing.T, w *world, to netip.AddrPort, l *net.TCPListener) *path {
	client := dialFrom(t, w, to)
	if _, err := io.WriteString(client, "hello"); err != nil {
		t.Fatal(err)
	}
	for {
		g, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close() })
		if err := g.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(g, make([]byte, 5)); err != nil {
			continue
		}
		if _, err := io.WriteString(g, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		return &path{client, g}
	}
}

// halfClosed has one end its stream, and the other answer when it has seen that
// and a second has passed.
func halfClosed(first, other *net.TCPConn) string {
	_ = first.CloseWrite()
	if got := sees(other); got != sawEnd {
		return "not passed on: " + got
	}
	time.Sleep(time.Second)
	_, _ = io.WriteString(other, "answer")
	_ = other.CloseWrite()
	got, err := io.ReadAll(first)
	switch {
	case string(got) == "answer" && err == nil:
		return sawWord
	case err != nil:
		return "cut: reset"
	default:
		return "cut: end"
	}
}

// cutAmid has one end reset a transfer, and says what the other sees after the
// last byte.
func cutAmid(sending, other *net.TCPConn) string {
	go func() {
		for b := make([]byte, 64<<10); ; {
			if _, err := sending.Write(b); err != nil {
				return // as it was reset
			}
		}
	}()
	if _, err := io.CopyN(io.Discard, other, 8<<20); err != nil {
		return "no transfer: " + err.Error()
	}
	abort(sending)
	if _, err := io.Copy(io.Discard, other); err == nil {
		return sawEnd
	} else if errors.Is(err, syscall.ECONNRESET) {
		return sawReset
	} else {
		return err.Error()
	}
}

// sees is what a read brings.
func sees(c *net.TCPConn) string {
	n, err := c.Read(make([]byte, 1))
	switch {
	case n > 0:
		return "bytes"
	case errors.Is(err, syscall.ECONNRESET):
		return sawReset
	case errors.Is(err, io.EOF):
		return sawEnd
	default:
		return err.Error()
	}
}

func abort(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
