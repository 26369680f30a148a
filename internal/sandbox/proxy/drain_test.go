package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// A proxy that drains ends what is idle, lets what is under way end by itself, and
// then that connection too.
func TestDrain(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	var s sandboxes
	s.put("one", newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-goOn
		}
		fmt.Fprint(w, "well")
	}), nil)
	p, srv := newProxy(t, Config{Resolve: s.resolve})
	silent, idle, busy := dial(t, srv), dial(t, srv), dial(t, srv)
	fmt.Fprint(idle, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	idle.want(t, "well")
	fmt.Fprint(busy, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- p.Drain(ctx) }()
	for _, c := range []*client{silent, idle} {
		if b, err := io.ReadAll(c.r); len(b) != 0 || err != nil {
			t.Errorf("what was idle: %q, %v", b, err)
		}
		c.Close()
	}
	close(goOn)
	resp, err := http.ReadResponse(busy.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "well" || err != nil || !resp.Close {
		t.Errorf("%q, %v, the last one: %v", body, err, resp.Close)
	}
	if b, err := io.ReadAll(busy.r); len(b) != 0 || err != nil {
		t.Errorf("what was busy: %q, %v", b, err)
	}
	busy.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// A drain is over with its time, whatever is left.
func TestDrainIsBounded(t *testing.T) {
	release := make(chan struct{})
	begun := make(chan struct{})
	defer close(release)
	var s sandboxes
	s.put("one", newBackend(t, func(http.ResponseWriter, *http.Request) { close(begun); <-release }), nil)
	p, srv := newProxy(t, Config{Resolve: s.resolve})
	c := dial(t, srv)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
