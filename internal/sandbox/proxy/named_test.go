package proxy

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"tapwatch/internal/nettest"
)

// From another machine, as an address of this one stands for here, a request without a
// name does not come to the only sandbox.
func TestRequestsFromAfarNameTheirSandbox(t *testing.T) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var own netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			own = p.Addr()
		}
	}
	if !own.IsValid() {
		nettest.Unfit(t, "it has no address but the loopback's")
	}
	var s sandboxes
	s.put("one", newBackend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") }), nil)
	p, _ := newProxy(t, Config{Resolve: s.resolve, Named: true})
	l, err := p.Listen(own.String() + ":0")
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int{"": http.StatusBadRequest, "one": http.StatusOK} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String(), strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		if id != "" {
			req.Header.Set("E2b-Sandbox-Id", id)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("id %q: %d, want %d", id, resp.StatusCode, want)
		}
	}
}
