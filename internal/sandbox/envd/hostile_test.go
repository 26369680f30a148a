package envd_test

import (
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"tapwatch/internal/sandbox/envd"
)

// A guest answers as it likes. It must not choose where the host sends requests,
// least of all those with the access token.
func TestNoRedirectIsFollowed(t *testing.T) {
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(elsewhere.Close)
	guest := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(guest.Close)
	for _, h := range []*http.Client{nil, guest.Client()} {
		c := &envd.Client{BaseURL: guest.URL, HTTP: h}
		_, metrics := c.Metrics(t.Context())
		_, exec := c.Exec(t.Context(), envd.ExecRequest{Cmd: "true"}, io.Discard, io.Discard)
		for name, err := range map[string]error{
			"health":  c.Health(t.Context()),
			"init":    c.Init(t.Context(), envd.InitRequest{AccessToken: "secret"}),
			"metrics": metrics,
			"exec":    exec,
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests went where the guest sent them", n)
	}
}

// A message of any length is not read into memory only because a guest sends it.
func TestMessageWithoutEnd(t *testing.T) {
	guest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		head := make([]byte, 5)
		binary.BigEndian.PutUint32(head[1:], 1<<30)
		_, _ = w.Write(head) // the client judges
		piece := make([]byte, 1<<20)
		for sent := 0; sent < 64<<20; sent += len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	t.Cleanup(guest.Close)
	c := &envd.Client{BaseURL: guest.URL}
	_, err := c.Exec(t.Context(), envd.ExecRequest{Cmd: "true"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "resource_exhausted") {
		t.Errorf("got %v, want that the message is too large", err)
	}
}
