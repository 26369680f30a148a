package proxy

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// Each request tells the cookies of the two connections that carry it, before it
// reaches the sandbox; also on a connection that was made when nobody heard.
func TestPairsAreTold(t *testing.T) {
	type pair struct{ front, back uint64 }
	var mu sync.Mutex
	var told []pair
	last := func() (p pair, times int) {
		mu.Lock()
		defer mu.Unlock()
		return told[len(told)-1], len(told)
	}
	seen := make(chan pair, 16) // what had been told last when a sandbox got the request
	var s sandboxes
	for _, id := range []string{"one", "two"} {
		s.put(id, newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			p, _ := last()
			seen <- p
			fmt.Fprint(w, "well")
		}), nil)
	}
	var heard atomic.Bool
	_, srv := newProxy(t, Config{Resolve: s.resolve, Heard: heard.Load, Paired: func(front, back uint64) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, pair{front, back})
	}})
	c := dial(t, srv)
	told = []pair{{}}
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: one\r\n\r\n") // nobody hears yet
	c.want(t, "well")
	if p := <-seen; p != (pair{}) {
		t.Errorf("told %v though nobody hears", p)
	}
	told = nil
	heard.Store(true)
	var got []pair
	for i, id := range []string{"one", "one", "two", "one"} {
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: %s\r\n\r\n", id)
		c.want(t, "well")
		got = append(got, <-seen)
		if p, times := last(); got[i] != p || times != i+1 {
			t.Errorf("request %d: the sandbox saw %v, told was %v, %d times", i+1, got[i], p, times)
		}
	}
	a := got[0]
	if a.front == 0 || a.back == 0 || got[1] != a || got[2].front != a.front || got[2].back == a.back || got[3].back == a.back || got[3].back == got[2].back {
		t.Errorf("%v", got)
	}
}
