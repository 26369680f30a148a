package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/nettest"
)

// client is a connection that says exactly what a test wants.
type client struct {
	*net.TCPConn
	r *bufio.Reader
}

func dial(t *testing.T, srv *front) *client {
	t.Helper()
	c, err := net.Dial("tcp", srv.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{c.(*net.TCPConn), bufio.NewReader(c)}
}

// answer reads one answer to a request of that method.
func (c *client) answer(t *testing.T, method string) (status int, body string) {
	t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (c *client) want(t *testing.T, wantBody string) {
	t.Helper()
	if status, body := c.answer(t, http.MethodGet); status != http.StatusOK || body != wantBody {
		t.Errorf("%d %q, want %q", status, body, wantBody)
	}
}

// named is a sandbox that answers with its name and what it was sent.
func named(t *testing.T, s *sandboxes, name string) {
	t.Helper()
	s.put(name, newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", name, r.URL.Path, b)
		if err != nil {
			t.Error(err)
		}
	}), nil)
}

// Requests for different sandboxes may come in one piece of one connection, and in
// pieces of a byte: each is answered by its own, in order.
func TestOneConnectionManySandboxes(t *testing.T) {
	var s sandboxes
	named(t, &s, "one")
	named(t, &s, "two")
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	const requests = "GET /a HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: one\r\n\r\n" +
		"POST /b HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: two\r\nContent-Length: 5\r\n\r\nhello" +
		"POST /c HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: two\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n" +
		"GET /d HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: one\r\n\r\n"
	for name, piece := range map[string]int{"in one": len(requests), "in bytes": 1} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, srv)
			go func() {
				for rest := requests; rest != ""; rest = rest[piece:] {
					if _, err := io.WriteString(c, rest[:piece]); err != nil {
						t.Error(err)
						return
					}
				}
			}()
			for _, want := range []string{"one /a ", "two /b hello", "two /c hello", "one /d "} {
				c.want(t, want)
			}
		})
	}
}

// An answer without a body, and one that is not the last, must not be waited for.
func TestAnswersWithoutBody(t *testing.T) {
	var s sandboxes
	s.put("one", newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/same":
			w.WriteHeader(http.StatusNotModified)
		case "/hints":
			w.WriteHeader(http.StatusEarlyHints)
			fmt.Fprint(w, "hinted")
		default:
			w.Header().Set("Content-Length", "5")
			_, _ = io.WriteString(w, "hello") // not to HEAD
		}
	}), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	c := dial(t, srv)
	for _, r := range []struct {
		method, path, body string
		status             int
	}{
		{"HEAD", "/", "", 200}, {"GET", "/none", "", 204}, {"GET", "/same", "", 304}, {"GET", "/", "hello", 200},
	} {
		fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n", r.method, r.path)
		if status, body := c.answer(t, r.method); status != r.status || body != r.body {
			t.Errorf("%s %s: %d %q", r.method, r.path, status, body)
		}
	}
	fmt.Fprint(c, "GET /hints HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if status, _ := c.answer(t, "GET"); status != http.StatusEarlyHints {
		t.Errorf("first %d", status)
	}
	c.want(t, "hinted")
}

func TestExpectContinue(t *testing.T) {
	var s sandboxes
	named(t, &s, "one")
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	c := dial(t, srv)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if status, _ := c.answer(t, "POST"); status != http.StatusContinue {
		t.Fatal(status)
	}
	fmt.Fprint(c, "hello")
	c.want(t, "one / hello")
}

// A client that ends its stream after a request still gets the answer, and then
// the end of the connection.
func TestClientThatEndsItsStream(t *testing.T) {
	var s sandboxes
	named(t, &s, "one")
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	c := dial(t, srv)
	fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.want(t, "one / ")
	if b, err := io.ReadAll(c.r); len(b) != 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// A sandbox that ends idle connections, as servers do, costs no request.
func TestIdleConnectionsEndedBySandbox(t *testing.T) {
	var s sandboxes
	s.put("one", newPeer(t, func(c *net.TCPConn) { respond(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }), nil)
	p, srv := newProxy(t, Config{Resolve: s.resolve})
	c := dial(t, srv)
	for range 3 {
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
		c.want(t, "ok")
		nettest.Eventually(t, "its end is seen", func() bool { return len(p.Stats("one")[0].Open) == 0 })
	}
}

// Where the end of a kept connection crosses a request, one that asks only is made
// again; of others nobody knows what they have done.
func TestRequestCrossesTheEnd(t *testing.T) {
	var conns atomic.Int32
	var s sandboxes
	s.put("one", newPeer(t, func(c *net.TCPConn) {
		defer c.Close()
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", conns.Add(1))
		_, _ = http.ReadRequest(r) // and the second one is not answered
	}), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	c := dial(t, srv)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	c.want(t, "1")
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	c.want(t, "2")
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
	if status, body := c.answer(t, "POST"); status != http.StatusBadGateway || !strings.Contains(body, "relay refused") {
		t.Errorf("%d %s", status, body)
	}
}

// A sandbox may refuse to upgrade; the connection is then as any other.
func TestUpgradeRefused(t *testing.T) {
	var s sandboxes
	named(t, &s, "one")
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	c := dial(t, srv)
	for range 2 {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		c.want(t, "one / ")
	}
}

// What a client says before the upgrade is granted arrives after it.
func TestUpgradeWithEarlyWords(t *testing.T) {
	var s sandboxes
	s.put("one", newPeer(t, func(c *net.TCPConn) {
		defer c.Close()
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nwelcome ")
		_, _ = io.Copy(c, r) // the client judges
	}), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	c := dial(t, srv)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nearly")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	defer resp.Body.Close()
	fmt.Fprint(c, " and late")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c.r); string(b) != "welcome early and late" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// Heads are bounded both ways.
func TestLongHeads(t *testing.T) {
	var s sandboxes
	s.put("one", newBackend(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 4096)) }), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve, Limits: Limits{MaxHeader: 2048}})
	c := dial(t, srv)
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 4096))
	if status, body := c.answer(t, "GET"); status != http.StatusRequestHeaderFieldsTooLarge || !strings.Contains(body, "2048 bytes") {
		t.Errorf("%d %s", status, body)
	}
	wantFailure(t, srv, "one", http.StatusBadGateway, int(s.byID["one"].Addr.Port()), "its headers are longer than 2048 bytes")
}

// A long head may come in any pieces, with a body behind it.
func TestLongHeadInPieces(t *testing.T) {
	var s sandboxes
	named(t, &s, "one")
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	for _, size := range []int{2000, 2048, 5000, 60000} {
		message := "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nX: " + strings.Repeat("x", size) + "\r\n\r\nhello"
		c := dial(t, srv)
		for rest := message; rest != ""; {
			n, err := io.WriteString(c, rest[:min(len(rest), 1021)])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			time.Sleep(time.Millisecond / 4) // so that they are read apart
		}
		c.want(t, "one / hello")
	}
}

// A sandbox that does not take a connection, as one that is paused, costs its
// clients the dial's time and then is a 502.
func TestSandboxThatTakesNoConnection(t *testing.T) {
	addr := newFullPeer(t)
	var s sandboxes
	s.put("paused", addr, nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve, Limits: Limits{DialTimeout: 100 * time.Millisecond}})
	wantFailure(t, srv, "paused", http.StatusBadGateway, int(addr.Port()), "no answer from "+addr.String())
}

// newFullPeer is an address whose backlog is full: the kernel answers no SYN.
func newFullPeer(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	shrinkBacklog(t, l.(*net.TCPListener))
	for range 3 { // the backlog of 0 is one, and one more is being made
		c, err := net.DialTimeout("tcp4", l.Addr().String(), 100*time.Millisecond)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
	}
	return netip.MustParseAddrPort(l.Addr().String())
}

// What is no HTTP goes to the only sandbox, bytes and ends as they are.
func TestPlainTCP(t *testing.T) {
	var s sandboxes
	s.put("one", newPeer(t, func(c *net.TCPConn) {
		defer c.Close()
		_, _ = io.Copy(c, c) // the client judges
	}), nil)
	p, srv := newProxy(t, Config{Resolve: s.resolve})
	for _, said := range []string{"SSH-2.0-x\r\n", "\x16\x03\x01\x02\x00", "PING\r\n", "\x00"} {
		c := dial(t, srv)
		if _, err := io.WriteString(c, said); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len(said))
		if _, err := io.ReadFull(c, b); err != nil || string(b) != said {
			t.Errorf("%q came back as %q, %v", said, b, err)
		}
		fmt.Fprint(c, "GET / HTTP/1.1\r\n\r\n") // is no request here
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); string(b) != "GET / HTTP/1.1\r\n\r\n" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	}
	nettest.Eventually(t, "its places are free again", func() bool { return *p.Stats("one")[0].Requests == 0 })
	s.put("two", newPeerClosed(t), nil)
	c := dial(t, srv)
	fmt.Fprint(c, "\x00")
	if b, err := io.ReadAll(c); err == nil {
		t.Errorf("of several sandboxes: %q and an end, not a reset", b)
	}
}

func TestPlainTCPToNobody(t *testing.T) {
	var s sandboxes
	s.put("one", newPeerClosed(t), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	c := dial(t, srv)
	fmt.Fprint(c, "\x00")
	if b, err := io.ReadAll(c); err == nil {
		t.Errorf("%q and an end, not a reset", b)
	}
}

// A client that speaks HTTP/2 at once reaches the only sandbox, if that does too.
func TestHTTP2PriorKnowledge(t *testing.T) {
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	backend.Config.Protocols = new(http.Protocols)
	backend.Config.Protocols.SetUnencryptedHTTP2(true)
	backend.Start()
	t.Cleanup(backend.Close)
	var s sandboxes
	s.put("one", netip.MustParseAddrPort(backend.Listener.Addr().String()), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	srv.client.Transport = transport
	if status, body := get(t, srv, ""); status != http.StatusOK || body != "HTTP/2.0" {
		t.Errorf("%d %q", status, body)
	}
}

// Many clients at once, each with one connection for several sandboxes, bodies of
// all sizes and forms both ways: every answer is that of the sandbox asked, and
// whole.
func TestManyClients(t *testing.T) {
	const clients, requests = 16, 40
	var s sandboxes
	for i := range 4 {
		name := fmt.Sprint("s", i)
		s.put(name, newBackend(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Sandbox", name)
			if r.URL.Path == "/known" {
				w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
			}
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.Copy(w, r.Body) // the client judges
		}), nil)
	}
	p, srv := newProxy(t, Config{Resolve: func(ctx context.Context, id string, port int) (Target, error) {
		target, err := s.resolve(ctx, id, port)
		target.Keep = true
		return target, err
	}})
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			transport := &http.Transport{MaxConnsPerHost: 1, DisableKeepAlives: n == 0}
			defer transport.CloseIdleConnections()
			rnd := rand.New(rand.NewPCG(1, uint64(n)))
			for range requests {
				if err := roundTrip(transport, srv.URL, rnd); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	nettest.Eventually(t, "no request is left open", func() bool {
		for _, s := range p.Stats("") {
			if *s.Requests != 0 {
				return false
			}
		}
		return true
	})
}

// roundTrip sends a body of random size to a random sandbox, which sends it back.
func roundTrip(transport http.RoundTripper, url string, rnd *rand.Rand) error {
	id, path, size := fmt.Sprint("s", rnd.IntN(4)), "/unknown", rnd.IntN(1<<rnd.IntN(21))
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(rnd.Uint32())
	}
	var r io.Reader = strings.NewReader(string(body))
	if rnd.IntN(2) == 0 {
		r = io.MultiReader(r) // its length is not known: chunked
	} else if rnd.IntN(2) == 0 {
		path = "/known"
	}
	req, err := http.NewRequest(http.MethodPost, url+path, r)
	if err != nil {
		return err
	}
	req.Header.Set(e2b.HeaderSandboxID, id)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Sandbox") != id || string(got) != string(body) {
		return fmt.Errorf("%s from %q, %d bytes, want %d from %s", resp.Status, resp.Header.Get("Sandbox"), len(got), len(body), id)
	}
	return nil
}

func shrinkBacklog(t *testing.T, l *net.TCPListener) {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var listenErr error
	if err := raw.Control(func(fd uintptr) { listenErr = unix.Listen(int(fd), 0) }); err != nil || listenErr != nil {
		t.Fatal(err, listenErr)
	}
}
