package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tapwatch/internal/sandbox/stream"
)

// sandboxes is a resolver over a table.
type sandboxes struct {
	mu   sync.Mutex
	byID map[string]Target
}

func (s *sandboxes) put(id string, addr netip.AddrPort, why func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = make(map[string]Target)
	}
	s.byID[id] = Target{SandboxID: id, Addr: addr, Why: why}
}

func (s *sandboxes) resolve(_ context.Context, id string, _ int) (Target, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" {
		if len(s.byID) > 1 {
			return Target{}, ErrAmbiguous
		}
		for _, t := range s.byID {
			return t, nil
		}
	}
	if t, ok := s.byID[id]; ok {
		return t, nil
	}
	return Target{}, ErrUnknownSandbox
}

// front is a proxy's address with a client of its own.
type front struct {
	URL    string
	Addr   string
	client http.Client
}

func (f *front) Client() *http.Client { return &f.client }

func newProxy(t *testing.T, cfg Config) (*Proxy, *front) {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, &front{URL: "http://" + l.Addr().String(), Addr: l.Addr().String(), client: http.Client{Transport: transport}}
}

func newBackend(t *testing.T, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

// newPeer serves each connection with fn, as a relay or a guest that does not speak HTTP.
func newPeer(t *testing.T, fn func(*net.TCPConn)) netip.AddrPort {
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
			go fn(c.(*net.TCPConn))
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// respond waits for a request, answers with raw bytes and ends the stream.
func respond(c *net.TCPConn, raw string) {
	defer c.Close()
	respondKeep(c, raw)
}

func respondKeep(c *net.TCPConn, raw string) {
	if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		_, _ = io.WriteString(c, raw) // the client judges
	}
}

func get(t *testing.T, s *front, id string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/path?a=1;b=%zz", nil)
	if err != nil {
		t.Fatal(err)
	}
	if id != "" {
		req.Header.Set("E2b-Sandbox-Id", id)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func wantFailure(t *testing.T, s *front, id string, status, port int, message string) {
	t.Helper()
	got, body := get(t, s, id)
	var f struct {
		SandboxID, Message string
		Code, Port         int
	}
	if err := json.Unmarshal([]byte(body), &f); err != nil {
		t.Fatalf("body %q: %v", body, err)
	}
	if got != status || f.Code != status || f.SandboxID != id || f.Port != port {
		t.Errorf("status %d, body %s, want %d for %q port %d", got, body, status, id, port)
	}
	if !strings.Contains(f.Message, message) {
		t.Errorf("message %q, want %q in it", f.Message, message)
	}
}

func TestRequestGoesThroughUnchanged(t *testing.T) {
	var s sandboxes
	s.put("iabc", newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s host=%s id=%s", r.Method, r.RequestURI, r.Host, r.Header.Get("E2b-Sandbox-Id"))
	}), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	host := strings.TrimPrefix(srv.URL, "http://")
	for _, id := range []string{"iabc", ""} { // "": the only sandbox
		got, body := get(t, srv, id)
		if want := fmt.Sprintf("GET /path?a=1;b=%%zz host=%s id=%s", host, id); got != http.StatusOK || body != want {
			t.Errorf("%d %q, want %q", got, body, want)
		}
	}
}

func TestFailures(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	reset := newPeer(t, func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() })
	ended := newPeer(t, func(c *net.TCPConn) { c.Close() })
	silent := newPeer(t, func(*net.TCPConn) {})
	garbage := newPeer(t, func(c *net.TCPConn) { respond(c, "SSH-2.0-x\r\n\r\n") })
	var s sandboxes
	s.put("closed", closed, nil)
	s.put("reset", reset, func() error { return nil })
	s.put("noroute", reset, func() error { return errors.New("no route to host") })
	s.put("ended", ended, nil)
	s.put("silent", silent, nil)
	s.put("garbage", garbage, nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve, Limits: Limits{FirstByteTimeout: 50 * time.Millisecond}})
	for _, c := range []struct {
		id, message string
		port        int
	}{
		{"unknown", "the sandbox was not found", 49983},
		{"closed", "the relay of the sandbox is gone", int(closed.Port())},
		{"reset", "relay refused: the connection ended before an answer came", int(reset.Port())},
		{"noroute", "relay refused: no route to host", int(reset.Port())},
		{"ended", "relay refused", int(ended.Port())},
		{"silent", "did not answer it in time", int(silent.Port())},
		{"garbage", "cannot be passed on: ", int(garbage.Port())},
	} {
		t.Run(c.id, func(t *testing.T) { wantFailure(t, srv, c.id, http.StatusBadGateway, c.port, c.message) })
	}
	t.Run("several and none named", func(t *testing.T) {
		wantFailure(t, srv, "", http.StatusBadRequest, 49983, "name one by E2b-Sandbox-Id")
	})
	t.Run("bad id", func(t *testing.T) {
		got, body := get(t, srv, "a/b")
		if got != http.StatusBadRequest || !strings.Contains(body, "no sandbox id") {
			t.Errorf("%d %s", got, body)
		}
	})
}

// A reset may arrive before the connection was seen, and is the relay's all the same.
func TestResetWhileDialing(t *testing.T) {
	err := fmt.Errorf("%w: %w", stream.ErrUnreached, syscall.ECONNRESET)
	got := explain(err, Target{Why: func() error { return errors.New("no route to host") }})
	if got != "relay refused: no route to host" {
		t.Errorf("got %q", got)
	}
}

// A connection that is reset in the middle of an answer must not look like its end.
func TestResetInTheMiddle(t *testing.T) {
	var s sandboxes
	s.put("iabc", newPeer(t, func(c *net.TCPConn) {
		respond(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	}), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	resp, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("read %q to its end", body)
	}
}

// Each side sees what the other has written while both are still writing.
func TestStreamsBothWaysAtOnce(t *testing.T) {
	var s sandboxes
	s.put("iabc", newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := errors.Join(rc.EnableFullDuplex(), rc.Flush()); err != nil {
			t.Error(err)
		}
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			fmt.Fprintln(w, "got", lines.Text())
			if err := rc.Flush(); err != nil {
				t.Error(err)
			}
		}
	}), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	body, writer := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req) // returns though the request has not ended
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewScanner(resp.Body)
	for i := range 3 {
		fmt.Fprintln(writer, i)
		if want := fmt.Sprint("got ", i); !answers.Scan() || answers.Text() != want {
			t.Fatalf("%q, %v, want %q", answers.Text(), answers.Err(), want)
		}
	}
	writer.Close()
	if answers.Scan() || answers.Err() != nil {
		t.Errorf("after the end: %q, %v", answers.Text(), answers.Err())
	}
}

func TestUpgrade(t *testing.T) {
	var s sandboxes
	s.put("iabc", newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n", r.Header.Get("Upgrade"))
		line, err := buf.ReadString('\n')
		fmt.Fprintf(c, "echo %s", line)
		if err != nil {
			t.Error(err)
		}
	}), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	c, err := net.Dial("tcp", srv.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	defer resp.Body.Close()
	fmt.Fprintln(c, "hello")
	if line, err := r.ReadString('\n'); line != "echo hello\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
}

// Connections are kept to one sandbox, and none of them outlives it: what takes
// its address is reached by a connection of its own.
func TestKeptConnectionsEndWithTheSandbox(t *testing.T) {
	var conns, open atomic.Int32
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	backend.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			conns.Add(1)
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	backend.Start()
	t.Cleanup(backend.Close)
	addr := netip.MustParseAddrPort(backend.Listener.Addr().String())
	var s sandboxes
	s.put("old", addr, nil)
	p, srv := newProxy(t, Config{Resolve: s.resolve})
	for range 5 {
		get(t, srv, "old")
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 5 requests", n)
	}
	s.put("new", addr, nil) // the address is another's already, and nobody has told us
	get(t, srv, "new")
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections for two sandboxes", n)
	}
	p.Forget("old")
	p.Forget("new")
	for deadline := time.Now().Add(time.Minute); open.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections stay open", open.Load())
		}
	}
}

func TestEndlessHeadersAreRefused(t *testing.T) {
	var s sandboxes
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X", strings.Repeat("x", 1<<20))
	resp, err := srv.Client().Do(req)
	if err != nil {
		return // cut while it was still sending
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(resp.Status)
	}
}
