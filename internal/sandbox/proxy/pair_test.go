package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Each request tells the cookies of the two connections that carry it, before it
// reaches the sandbox: both ends of both connections know their own.
func TestPairsAreTold(t *testing.T) {
	type pair struct{ front, back uint64 }
	var mu sync.Mutex
	var told []pair
	seen := make(chan pair, 8) // what had been told last when the sandbox got the request
	var s sandboxes
	s.put("one", newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen <- told[len(told)-1]
		fmt.Fprint(w, "well")
	}), nil)
	p, srv := newProxy(t, Config{Resolve: s.resolve, Paired: func(front, back uint64) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, pair{front, back})
	}})
	for range 2 { // a client connection each
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if _, err := io.ReadAtLeast(c, make([]byte, 4096), 1); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
	}
	if n := len(told); n != 4 {
		t.Fatalf("%d pairs told", n)
	}
	for i, want := range told {
		if got := <-seen; got != want || want.front == 0 || want.back == 0 {
			t.Errorf("request %d: the sandbox saw %v, told was %v", i, got, want)
		}
	}
	if told[0] != told[1] || told[2] != told[3] || told[0].front == told[2].front {
		t.Errorf("%v", told)
	}
	b := p.backends.byID["one"]
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		if c.cookie() != told[3].back {
			t.Errorf("the connection's cookie is %d, told was %d", c.cookie(), told[3].back)
		}
	}
}
