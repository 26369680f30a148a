package flow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// newSurlyWorld is a slot whose relay asks the guest as it is asked, and whose daemon
// does what the request says: "answer", "500", "echo", "hello", "close", "reset" or "wait".
func newSurlyWorld(t *testing.T) (w *world, guest string) {
	t.Helper()
	w, guest = newEmptyWorld(t)
	accept(listen(t, guest, netip.AddrPortFrom(guestAddr, 49983)), func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch strings.TrimSpace(line) {
			case "answer":
				fmt.Fprint(c, "HTTP/1.1 204 No Content\r\n\r\n")
			case "500":
				fmt.Fprint(c, "HTTP/1.1 500 Internal Server Error\r\n\r\n")
			case "echo":
				fmt.Fprint(c, "GET /health HTTP/1.1\r\n\r\n")
			case "hello":
				fmt.Fprint(c, "hello you")
			case "reset":
				_ = c.(*net.TCPConn).SetLinger(0)
				return
			case "close":
				return
			case "wait":
				_, _ = io.Copy(io.Discard, c)
				return
			}
		}
	})
	return w, guest
}

// askGuest asks straight at the tap over a connection of its own, and gives up after a
// time; 0: waits for an answer or an error.
func askGuest(t *testing.T, w *world, words string, patience time.Duration) {
	t.Helper()
	c, err := netns.DialTCP(t.Context(), w.slot, netip.AddrPortFrom(guestAddr, 49983))
	if err != nil {
		t.Fatal(err)
	}
	askOver(c, words, patience)
}

func askOver(c net.Conn, words string, patience time.Duration) {
	defer c.Close()
	if patience > 0 {
		_ = c.SetDeadline(time.Now().Add(patience))
	}
	b := make([]byte, 512)
	for _, word := range strings.Fields(words) {
		if _, err := fmt.Fprintln(c, word); err != nil {
			return
		}
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// outcomes is what came of all that was asked, once nothing is open.
func outcomes(t *testing.T, f *Flow, w *world, of int) map[path.Outcome]int {
	t.Helper()
	got := map[path.Outcome]int{}
	nettest.Eventually(t, "nothing is open", func() bool {
		if seen, err := f.Seen(); err != nil {
			t.Fatal(err)
		} else if s, ok := seen[w.path.Netns]; ok {
			clear(got)
			for i, n := range s.Asked[of].Outcomes {
				if n > 0 {
					got[path.Outcomes[i]] = int(n)
				}
			}
			return s.Asked[of].Open() == 0
		}
		return len(got) > 0
	})
	return got
}

func TestOutcomes(t *testing.T) {
	w, guest := newSurlyWorld(t)
	f := load(t, Config{})
	if err := f.Add(w.path); err != nil {
		t.Fatal(err)
	}
	total := map[path.Outcome]int{}
	for _, step := range []struct {
		name string
		do   func()
		want map[path.Outcome]int
	}{
		{"three answers over one connection", func() { askGuest(t, w, "answer answer answer", 0) }, map[path.Outcome]int{path.Answered: 3}},
		{"an error, and an answer after it", func() { askGuest(t, w, "500 answer", 0) }, map[path.Outcome]int{path.ServerError: 1, path.Answered: 1}},
		{"what is no HTTP", func() { askGuest(t, w, "echo", 0) }, map[path.Outcome]int{path.NotHTTP: 1}},
		{"what is no HTTP, and short", func() { askGuest(t, w, "hello", 0) }, map[path.Outcome]int{path.NotHTTP: 1}},
		{"closed", func() { askGuest(t, w, "close", 0) }, map[path.Outcome]int{path.Closed: 1}},
		{"reset", func() { askGuest(t, w, "answer reset", 0) }, map[path.Outcome]int{path.Answered: 1, path.Reset: 1}},
		{"given up", func() { askGuest(t, w, "wait", 50*time.Millisecond) }, map[path.Outcome]int{path.GaveUp: 1}},
		{"given up with a reset", func() {
			c, err := netns.DialTCP(t.Context(), w.slot, netip.AddrPortFrom(guestAddr, 49983))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetLinger(0)
			askOver(c, "wait", 50*time.Millisecond)
		}, map[path.Outcome]int{path.GaveUp: 1}},
		{"nothing asked", func() { askGuest(t, w, "", 0) }, map[path.Outcome]int{path.Unused: 1}},
		{"another port", func() {
			accept(listen(t, guest, netip.AddrPortFrom(guestAddr, 8080)), func(net.Conn) {})
			c, err := netns.DialTCP(t.Context(), w.slot, netip.AddrPortFrom(guestAddr, 8080))
			if err != nil {
				t.Fatal(err)
			}
			askOver(c, "close", 0)
		}, nil},
	} {
		step.do()
		for o, n := range step.want {
			total[o] += n
		}
		if got := outcomes(t, f, w, OfGuest); !maps.Equal(got, total) {
			t.Fatalf("%s: %v, want %v", step.name, got, total)
		}
	}
}

// A connect that is refused, and one that nothing answers.
func TestOutcomesOfConnects(t *testing.T) {
	w, guest := newEmptyWorld(t)
	f := load(t, Config{})
	if err := f.Add(w.path); err != nil {
		t.Fatal(err)
	}
	if c, err := netns.DialTCP(t.Context(), w.slot, netip.AddrPortFrom(guestAddr, 49983)); err == nil {
		c.Close()
		t.Fatal("somebody listens")
	}
	nettest.In(t, guest, func() error { // it hears, and cannot answer
		return netlink.RouteAdd(&netlink.Route{Type: unix.RTN_BLACKHOLE, Dst: netlink.NewIPNet(tapAddr.AsSlice())})
	})
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	waits := make(chan []Waiting, 1)
	time.AfterFunc(500*time.Millisecond, func() {
		all, err := f.Waiting()
		if err != nil {
			t.Error(err)
		}
		waits <- all
	})
	if _, err := netns.DialTCP(ctx, w.slot, netip.AddrPortFrom(guestAddr, 49983)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	all := <-waits
	if len(all) != 1 || all[0].Netns != w.path.Netns || all[0].Of != OfGuest || !all[0].Connecting || !all[0].Left || all[0].Acked || time.Since(all[0].Since) > 10*time.Second {
		t.Errorf("waits: %+v", all)
	}
	// A request that leaves and is not acknowledged, and one that does not even leave.
	want := map[path.Outcome]int{path.Refused: 1, path.Lost: 1}
	if got := outcomes(t, f, w, OfGuest); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What the relay was asked is told apart from what it asked.
func TestOutcomesAtTheRelay(t *testing.T) {
	w, _ := newSurlyWorld(t)
	f := load(t, Config{})
	if err := f.Add(w.path); err != nil {
		t.Fatal(err)
	}
	vpeer := netip.AddrPortFrom(w.path.Vpeer, 49983)
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp4", vpeer.String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c, err := net.Dial("tcp4", vpeer.String()); err == nil {
		c.Close()
		t.Fatal("somebody listens")
	}
	forward(listen(t, w.slot, vpeer), 0, func() (net.Conn, error) {
		return netns.DialTCP(t.Context(), w.slot, netip.AddrPortFrom(guestAddr, 49983))
	})
	askOver(dial(), "answer answer close", 0)
	wantRelay := map[path.Outcome]int{path.Refused: 1, path.Answered: 2, path.Closed: 1}
	if got := outcomes(t, f, w, OfRelay); !maps.Equal(got, wantRelay) {
		t.Errorf("of the relay %v, want %v", got, wantRelay)
	}
	askOver(dial(), "500", 0) // which is the guest's error, and no byte of it is read at the relay's
	nettest.Eventually(t, "an error of the guest's", func() bool {
		seen, err := f.Seen()
		if err != nil {
			t.Fatal(err)
		}
		s, ok := seen[w.path.Netns]
		return ok && s.Asked[OfGuest].Outcomes[2] == 1
	})
	c := dial()
	defer c.Close()
	if _, err := fmt.Fprintln(c, "wait"); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "both wait", func() bool {
		all, err := f.Waiting()
		if err != nil {
			t.Fatal(err)
		}
		of := map[int]bool{}
		for _, w := range all {
			of[w.Of] = w.Acked && w.Left && !w.Connecting
		}
		return len(all) == 2 && of[OfRelay] && of[OfGuest]
	})
}

// What was seen is read where something was noted since, and now and then.
func TestSeenIsReadWhereSomethingWas(t *testing.T) {
	w, _ := newSurlyWorld(t)
	f := load(t, Config{})
	if err := f.Add(w.path); err != nil {
		t.Fatal(err)
	}
	look := func() map[netns.Cookie]Seen {
		seen, err := f.Seen()
		if err != nil {
			t.Fatal(err)
		}
		return seen
	}
	for n := range 2 * readAnyway {
		if seen := look(); len(seen) > 0 || f.skipped != (n+1)%readAnyway {
			t.Fatalf("look %d: %v, %d skipped", n, seen, f.skipped)
		}
	}
	look()
	askGuest(t, w, "answer", 0)
	// The answer was noted before it was read.
	if got := look()[w.path.Netns].Asked[OfGuest].Outcomes; got[slices.Index(path.Outcomes[:], path.Answered)] != 1 {
		t.Errorf("%v, want one answer", got)
	}
}
