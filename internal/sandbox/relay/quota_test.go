package relay

import (
	"net"
	"testing"

	"tapwatch/internal/sandbox/stream"
)

// What a quota does not admit is reset at once; what it has admitted goes on, and its
// end makes room. Routes share it.
func TestQuotaOfASandbox(t *testing.T) {
	w := newWorld(t)
	go echo(w.backend)
	q := stream.NewQuota(3, 0)
	var routes []*Route
	for range 2 {
		r, err := w.relay.OpenLimited(stream.ListenConfig{Netns: w.ns, Addr: anyPort}, w.backend.Addr().(*net.TCPAddr).AddrPort(), q)
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, r)
	}
	var open []*net.TCPConn
	for i := range 3 {
		w.route = routes[i%2]
		c := w.dial(t)
		send(t, c, "ping")
		wantRead(t, c, "ping")
		open = append(open, c)
	}
	for _, r := range routes {
		w.route = r
		if c, err := dialIn(t.Context(), w.ns, r.Addr()); err == nil { // else it was reset before we looked
			bound(t, c)
			wantReset(t, c)
			c.Close()
		}
	}
	for _, c := range open {
		send(t, c, "pong")
		wantRead(t, c, "pong")
	}
	if q.Refused() != 2 {
		t.Errorf("%d refused", q.Refused())
	}
	open[0].Close()
	eventually(t, "the end of one makes room", func() bool { return routes[0].Stats().Open == 1 })
	c := w.dial(t)
	send(t, c, "ping")
	wantRead(t, c, "ping")
}

// An engine that has as many connections as it may lets others wait, and takes them
// once one has ended.
func TestConnectionsInAllAreBounded(t *testing.T) {
	w := newWorld(t)
	go echo(w.backend)
	r, err := WithConfig(stream.Config{MaxOpen: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.route, err = r.Listen(w.ns, anyPort, w.backend.Addr().(*net.TCPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	first, second := w.dial(t), w.dial(t)
	for _, c := range []*net.TCPConn{first, second} {
		send(t, c, "ping")
		wantRead(t, c, "ping")
	}
	third := w.dial(t)
	send(t, third, "ping")
	eventually(t, "the listener rests", func() bool { return w.route.Stats().Pauses > 0 })
	if n := w.route.Stats().Open; n != 2 {
		t.Errorf("%d are open", n)
	}
	first.Close()
	wantRead(t, third, "ping")
}
