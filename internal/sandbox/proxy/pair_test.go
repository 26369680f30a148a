package proxy

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// Each request tells the cookies of the two connections that carry it, before it
// reaches the sandbox.
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
	_, srv := newProxy(t, Config{Resolve: s.resolve, Paired: func(front, back uint64) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, pair{front, back})
	}})
	c := dial(t, srv)
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
