package proxy

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/nettest"
)

// A sandbox that takes requests and answers none fills what is its own; others
// are served as ever, and it is too when requests have gone.
func TestFloodOfOneSandboxLeavesOthers(t *testing.T) {
	const limit = 8
	release := make(chan struct{})
	var s sandboxes
	s.put("flooded", newBackend(t, func(http.ResponseWriter, *http.Request) { <-release }), nil)
	s.put("other", newBackend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "well") }), nil)
	p, srv := newProxy(t, Config{Resolve: s.resolve, Limits: Limits{MaxRequests: limit}})
	results := make(chan int, limit)
	for range limit {
		go func() {
			req, err := http.NewRequest(http.MethodGet, srv.URL, nil)
			if err != nil {
				results <- 0
				return
			}
			req.Header.Set("E2b-Sandbox-Id", "flooded")
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				results <- 0
				return
			}
			resp.Body.Close()
			results <- resp.StatusCode
		}()
	}
	nettest.Eventually(t, "the flood is in", func() bool {
		all := p.Stats("flooded")
		return len(all) == 1 && len(all[0].Open) == limit
	})
	for range 3 * limit {
		wantFailure(t, srv, "flooded", http.StatusTooManyRequests, e2b.EnvdPort, "8 requests open already")
		if code, body := get(t, srv, "other"); code != http.StatusOK || body != "well" {
			t.Errorf("the other answers %d %q", code, body)
		}
	}
	close(release)
	for range limit {
		if code := <-results; code != http.StatusOK {
			t.Errorf("a request of the flood: %d", code)
		}
	}
	nettest.Eventually(t, "the flooded one is served again", func() bool {
		code, _ := get(t, srv, "flooded")
		return code == http.StatusOK
	})
}

func TestUpgradesCountUntilTheyEnd(t *testing.T) {
	var s sandboxes
	s.put("one", newPeer(t, func(c *net.TCPConn) {
		defer c.Close()
		respondKeep(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve, Limits: Limits{MaxRequests: 1}})
	c, err := net.Dial("tcp", srv.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
	head := make([]byte, len("HTTP/1.1 101"))
	if _, err := io.ReadFull(c, head); err != nil || string(head) != "HTTP/1.1 101" {
		t.Fatalf("%q, %v", head, err)
	}
	wantFailure(t, srv, "one", http.StatusTooManyRequests, e2b.EnvdPort, "1 requests open already")
	c.Close()
	nettest.Eventually(t, "the place is free again", func() bool {
		code, _ := ask(t, srv, "one", "x")
		return code == http.StatusSwitchingProtocols
	})
}

// A client that keeps its connection to a sandbox and asks nothing holds a place too;
// it may ask again while it does.
func TestIdleConnectionsToASandboxAreBounded(t *testing.T) {
	var s sandboxes
	s.put("one", newBackend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") }), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve, Limits: Limits{MaxConnections: 1}})
	c, err := net.Dial("tcp", srv.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: one\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%+v, %v", resp, err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != "here" || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
	}
	wantFailure(t, srv, "one", http.StatusTooManyRequests, e2b.EnvdPort, "at most 1 may be open")
	c.Close()
	nettest.Eventually(t, "the place is free again", func() bool {
		code, _ := get(t, srv, "one")
		return code == http.StatusOK
	})
}

// A client that never ends its headers is cut; one whose body is slow is not.
func TestSlowHeadersAreCut(t *testing.T) {
	var s sandboxes
	s.put("one", newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %v", b, err)
	}), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve, Limits: Limits{HeaderTimeout: 100 * time.Millisecond}}) // the test's time is dear
	slow, err := net.Dial("tcp", srv.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprint(slow, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
	if _, err := io.ReadAll(slow); err != nil { // returns when it is cut
		t.Log("cut by", err)
	}
	body, w := io.Pipe()
	go func() {
		for _, part := range []string{"a", "b", "c"} {
			time.Sleep(time.Second) // together longer than headers may take, and seen to be
			_, _ = io.WriteString(w, part)
		}
		w.Close()
	}()
	resp, err := srv.Client().Post(srv.URL, "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); string(b) != "abc <nil>" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// A large body comes back as it went.
func TestLargeBodies(t *testing.T) {
	const size = 64 << 20
	var s sandboxes
	s.put("one", newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(w, r.Body) // the client judges
	}), nil)
	_, srv := newProxy(t, Config{Resolve: s.resolve})
	sent, got := sha256.New(), sha256.New()
	src := io.TeeReader(io.LimitReader(&pattern{}, size), sent)
	resp, err := srv.Client().Post(srv.URL, "application/octet-stream", src)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(got, resp.Body); n != size || err != nil || string(got.Sum(nil)) != string(sent.Sum(nil)) {
		t.Errorf("%d bytes, %v, sums %x and %x", n, err, sent.Sum(nil), got.Sum(nil))
	}
}

// pattern is endless and repeats no block in the same place.
type pattern struct{ n uint64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		p.n = p.n*6364136223846793005 + 1442695040888963407
		b[i] = byte(p.n >> 56)
	}
	return len(b), nil
}

// ask upgrades to a protocol, and returns the status; it ends the connection.
func ask(t *testing.T, srv *front, id, upgrade string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("E2b-Sandbox-Id", id)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", upgrade)
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp.StatusCode, ""
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}
