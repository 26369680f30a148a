package relay

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
)

// A relay of several namespaces is replaced three times while connections come
// without a pause: none may fail, and long ones live on until they end.
func TestRestartUnderLoadFailsNoConnection(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:20000")
	var slots []string
	var lines strings.Builder
	for range 3 {
		ns := nettest.Netns(t)
		nettest.SetUp(t, ns, "lo", true)
		slots = append(slots, ns)
		fmt.Fprintf(&lines, "%s %s %s\n", ns, at, echo(t, ns))
	}
	dir := t.TempDir()
	routes := filepath.Join(dir, "routes")
	if err := os.WriteFile(routes, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	metrics, err := net.Listen("tcp4", "127.0.0.1:0") // for a free address
	if err != nil {
		t.Fatal(err)
	}
	metrics.Close()
	relay := func() *proctest.Process {
		p := proctest.Start(t, tapwatch(t), "relay", "--routes", routes, "--handover", filepath.Join(dir, "sock"),
			"--metrics-listen", metrics.Addr().String())
		p.WaitFor(t, 0, "relaying 3 routes")
		return p
	}
	running := relay()
	long, err := netns.DialTCP(t.Context(), slots[0], at)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	talk(t, long, "before")

	ctx, stop := context.WithCancel(t.Context())
	var made, failed atomic.Int64
	var load sync.WaitGroup
	for _, ns := range slots {
		for range 4 {
			load.Go(func() {
				for ctx.Err() == nil {
					made.Add(1)
					if err := once(t.Context(), ns, at); err != nil {
						failed.Add(1)
						t.Error(err)
						return
					}
				}
			})
		}
	}
	enough := func(n int64) {
		from := made.Load()
		nettest.Eventually(t, "connections", func() bool { return made.Load() > from+n || failed.Load() > 0 })
	}
	for i := range 3 {
		enough(500)
		before := running
		running = relay()
		before.WaitFor(t, 0, "another relay has taken over")
		if i == 0 {
			talk(t, long, "after")
			long.Close()
		}
		enough(500)
		if code := before.ExitCode(); code != 0 {
			t.Errorf("a relay that was replaced ended with %d: %s", code, before.Output())
		}
	}
	stop()
	load.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d of %d connections failed", failed.Load(), made.Load())
	}
	t.Logf("%d connections over three restarts", made.Load())
	nettest.Eventually(t, "the last one's counts", func() bool {
		resp, err := http.Get("http://" + metrics.Addr().String() + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(got), fmt.Sprintf(`tapwatch_layer_connections_opened_total{layer="relay",sandbox_id=%q}`, slots[0]))
	})
	running.Stop(t)
	if _, err := os.Stat(filepath.Join(dir, "sock")); !os.IsNotExist(err) {
		t.Error("the socket is left behind:", err)
	}
}

// echo serves in a namespace.
func echo(t *testing.T, ns string) net.Addr { return echoAt(t, ns, "127.0.0.1:0") }

func echoAt(t testing.TB, ns, at string) net.Addr {
	var l net.Listener
	nettest.In(t, ns, func() (err error) { l, err = net.Listen("tcp4", at); return err })
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // the client judges
			}()
		}
	}()
	return l.Addr()
}

// once opens a connection, says something, hears it and closes.
func once(ctx context.Context, ns string, to netip.AddrPort) error {
	c, err := netns.DialTCP(ctx, ns, to)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "ping"); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err == nil && string(got) != "ping" {
		err = fmt.Errorf("heard %q", got)
	}
	return err
}

func talk(t *testing.T, c net.Conn, word string) {
	t.Helper()
	if _, err := io.WriteString(c, word); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != word {
		t.Fatalf("heard %q, %v, want %q", got, err, word)
	}
}

// At SIGTERM a relay takes no more connections, and lets those it has end.
func TestDrain(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:20000")
	for _, c := range []struct {
		name  string
		drain string
		cut   bool
	}{{"in time", "1m", false}, {"too late", "100ms", true}} {
		t.Run(c.name, func(t *testing.T) {
			ns := nettest.Netns(t)
			nettest.SetUp(t, ns, "lo", true)
			p := proctest.Start(t, tapwatch(t), "relay", "--netns", ns, "--listen", at.String(), "--to", echo(t, ns).String(), "--drain", c.drain)
			p.WaitFor(t, 0, "relaying")
			conn, err := netns.DialTCP(t.Context(), ns, at)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			talk(t, conn, "before")
			if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			nettest.Eventually(t, "nobody listens", func() bool { return once(t.Context(), ns, at) != nil })
			if !c.cut {
				talk(t, conn, "after")
				conn.Close()
			} else if _, err := io.ReadAll(conn); err == nil {
				t.Error("the connection ended in order, and was to be cut")
			}
			if code := p.ExitCode(); code != 0 || c.cut != strings.Contains(p.Output(), "1 connections are left") {
				t.Errorf("ended with %d: %s", code, p.Output())
			}
		})
	}
}
