package prober

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tapwatch/internal/nettest"
)

// A daemon in a namespace that is well, one that takes the connection and says
// nothing, one that is ill, and none.
func TestHealth(t *testing.T) {
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	listen := func() (l net.Listener) {
		nettest.In(t, ns, func() (err error) {
			l, err = net.Listen("tcp", "127.0.0.1:0")
			return err
		})
		t.Cleanup(func() { l.Close() })
		return l
	}
	serve := func(code int) netip.AddrPort {
		l := listen()
		srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/health" {
				code = http.StatusTeapot
			}
			w.WriteHeader(code)
		})}
		go func() { _ = srv.Serve(l) }()
		t.Cleanup(func() { srv.Close() })
		return l.Addr().(*net.TCPAddr).AddrPort()
	}
	nettest.SetUp(t, ns, "lo", true)
	hung := listen().Addr().(*net.TCPAddr).AddrPort() // the kernel takes connections, nobody else does
	gone := listen()
	gone.Close()
	for _, c := range []struct {
		name      string
		at        netip.AddrPort
		connected bool
		code      int
		says      string
	}{
		{"well", serve(http.StatusNoContent), true, http.StatusNoContent, ""},
		{"ill", serve(http.StatusInternalServerError), true, http.StatusInternalServerError, ""},
		{"hung", hung, true, 0, "no answer in 5s"},
		{"gone", gone.Addr().(*net.TCPAddr).AddrPort(), false, 0, "connection refused"},
	} {
		h := Health(t.Context(), ns, c.at, "/health")
		if h.Connected != c.connected || h.Code != c.code || !strings.Contains(h.Error, c.says) || (h.Error == "") != (c.says == "") {
			t.Errorf("%s: %+v", c.name, h)
		}
		if h.TimedOut != (c.name == "hung") || h.Refused != (c.name == "gone") {
			t.Errorf("%s: timed out %t, refused %t", c.name, h.TimedOut, h.Refused)
		}
	}
	if h := Health(t.Context(), nettest.RandomName("none"), hung, "/health"); h.Connected || h.Error == "" || h.TimedOut || h.Refused || h.Unreachable {
		t.Errorf("no namespace: %+v", h)
	}
}

// The proxy is asked as clients ask it, and its own answers are told from envd's.
func TestThrough(t *testing.T) {
	t.Parallel()
	proxy := func(answer http.HandlerFunc) netip.AddrPort {
		s := httptest.NewServer(answer)
		t.Cleanup(s.Close)
		return s.Listener.Addr().(*net.TCPAddr).AddrPort()
	}
	routed := proxy(func(w http.ResponseWriter, r *http.Request) {
		code := http.StatusNoContent
		if r.URL.Path != "/health" || r.Header.Get("E2b-Sandbox-Id") != "i1" || r.Header.Get("E2b-Sandbox-Port") != "49983" {
			code = http.StatusTeapot
		}
		w.WriteHeader(code)
	})
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, c := range []struct {
		name    string
		at      netip.AddrPort
		code    int
		refused bool
	}{
		{"well", routed, http.StatusNoContent, false},
		{"no such sandbox", proxy(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "{}", http.StatusBadGateway) }), http.StatusBadGateway, false},
		{"another server, which leads elsewhere", proxy(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+routed.String()+"/health", http.StatusFound)
		}), http.StatusFound, false},
		{"nobody listens", gone.Addr().(*net.TCPAddr).AddrPort(), 0, true},
	} {
		h := Through(t.Context(), c.at, "i1", 49983, "/health")
		if h.Code != c.code || h.Refused != c.refused || h.Connected == c.refused || h.Time.IsZero() || h.Took <= 0 {
			t.Errorf("%s: %+v", c.name, h)
		}
	}
}

func TestOnce(t *testing.T) {
	serve := func(say string) netip.AddrPort {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			b := make([]byte, 512)
			if n, _ := c.Read(b); strings.HasPrefix(string(b[:n]), "GET /health HTTP/1.1\r\nHost: 127.0.0.1:") {
				_, _ = c.Write([]byte(say))
			}
		}()
		return l.Addr().(*net.TCPAddr).AddrPort()
	}
	gone := serve("")
	if h := Once(t.Context(), gone, "/"); !h.Connected || h.Error == "" { // what it says to another request: nothing
		t.Errorf("%+v", h)
	}
	for _, c := range []struct {
		say  string
		code int
	}{{"HTTP/1.1 204 No Content\r\n\r\n", 204}, {"HTTP/1.1 500 No\r\n\r\n", 500}, {"hello", 0}} {
		if h := Once(t.Context(), serve(c.say), "/health"); h.Code != c.code || !h.Connected || (h.Error != "") != (c.code == 0) {
			t.Errorf("%q: %+v", c.say, h)
		}
	}
}
