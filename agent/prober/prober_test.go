package prober

import (
	"net"
	"net/http"
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
		h := Health(t.Context(), ns, c.at)
		if h.Connected != c.connected || h.Code != c.code || !strings.Contains(h.Error, c.says) || (h.Error == "") != (c.says == "") {
			t.Errorf("%s: %+v", c.name, h)
		}
	}
	if h := Health(t.Context(), nettest.RandomName("none"), hung); h.Connected || h.Error == "" {
		t.Errorf("no namespace: %+v", h)
	}
}
