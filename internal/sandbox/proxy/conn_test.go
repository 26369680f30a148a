package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	"tapwatch/internal/e2b"
	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/conns"
	"tapwatch/internal/sandbox/stream"
)

// A connection in use ends with its sandbox too: by an error, not as if the
// answer were whole.
func TestForgetCutsWhatIsInUse(t *testing.T) {
	serverSide := make(chan error, 1)
	var s sandboxes
	s.put("old", newPeer(t, func(c *net.TCPConn) {
		defer c.Close()
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			serverSide <- err
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		_, err := io.Copy(io.Discard, r) // until it is cut
		serverSide <- err
	}), nil)
	p, srv := newProxy(t, Config{Resolve: s.resolve})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("E2b-Sandbox-Id", "old")
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	hello := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, hello); err != nil || string(hello) != "hello" {
		t.Fatalf("%q, %v", hello, err)
	}
	p.Forget("old")
	if rest, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the answer ended well, with %q", rest)
	}
	if err := <-serverSide; err == nil {
		t.Error("the sandbox saw an end, not a reset")
	}
}

// What was found before the sandbox went must not be used after: its address may
// be another's by then.
func TestForgetWhileResolving(t *testing.T) {
	var reached atomic.Int32
	old := Target{SandboxID: "old", Addr: newBackend(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) }), Keep: true}
	asked, goOn := make(chan struct{}), make(chan struct{})
	var times atomic.Int32
	p, srv := newProxy(t, Config{Resolve: func(context.Context, string, int) (Target, error) {
		if times.Add(1) > 1 {
			return Target{}, ErrUnknownSandbox
		}
		close(asked)
		<-goOn
		return old, nil
	}})
	go func() {
		<-asked
		p.Forget("old")
		close(goOn)
	}()
	wantFailure(t, srv, "old", http.StatusBadGateway, e2b.EnvdPort, "the sandbox was not found")
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests reached what had its address", n)
	}
}

func TestStats(t *testing.T) {
	closed := newPeerClosed(t)
	var s sandboxes
	s.put("kept", newBackend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }), nil)
	s.put("ends", newPeer(t, func(c *net.TCPConn) { respond(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }), nil)
	s.put("resets", newPeer(t, func(c *net.TCPConn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_ = c.SetLinger(0)
		c.Close()
	}), nil)
	s.put("closed", closed, nil)
	p, srv := newProxy(t, Config{Resolve: s.resolve})
	other := &front{URL: srv.URL} // a connection that leads to another sandbox leaves the one before
	defer other.Client().CloseIdleConnections()
	get(t, srv, "kept")
	get(t, srv, "kept")
	for _, id := range []string{"ends", "resets", "closed"} {
		get(t, other, id)
	}
	one := func(id string) conns.Stats {
		all := p.Stats(id)
		if len(all) != 1 || all[0].SandboxID != id {
			t.Fatalf("%s: %+v", id, all)
		}
		return all[0]
	}
	kept := one("kept")
	if kept.Opened != 1 || len(kept.Open) != 1 || len(kept.Ended) != 0 || kept.Received < 5 || kept.Sent < 5 {
		t.Fatalf("%+v", kept)
	}
	if c := kept.Open[0]; c.FirstByteUS == nil || c.RTTUS == nil || c.Retransmits == nil || c.Remote != s.byID["kept"].Addr.String() || c.Received != kept.Received {
		t.Errorf("%+v", c)
	}
	nettest.Eventually(t, "an end and a reset are told apart", func() bool {
		ends, resets := one("ends"), one("resets")
		return ends.Ended["backend-ended"] == 1 && ends.Ended["cut"] == 0 && len(ends.Open) == 0 && resets.Ended["backend-reset"] >= 1
	})
	if c := one("closed"); c.DialErrors["ECONNREFUSED"] != 1 || c.Ended[stream.Unreached.String()] != 1 || c.Opened != 0 {
		t.Errorf("%+v", c)
	}
	if all := p.Stats(""); len(all) != 4 || all[0].SandboxID != "closed" {
		t.Errorf("%+v", all)
	}
	if none := p.Stats("unknown"); none == nil || len(none) != 0 {
		t.Errorf("%+v", none)
	}
}

// newPeerClosed is an address where nobody listens.
func newPeerClosed(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}
