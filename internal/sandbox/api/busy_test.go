package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tapwatch/internal/sandbox"
)

// No room is no fault of ours: 503, or 429 for who has as much as it may, and when it
// is worth trying again.
func TestBusyIsNo500(t *testing.T) {
	s := &server{cfg: Config{Log: slog.New(slog.DiscardHandler)}}
	for name, c := range map[string]struct {
		err   error
		want  int
		retry string
	}{
		"busy":    {&sandbox.BusyError{Why: "64 wait", Retry: 1500 * time.Millisecond}, 503, "2"},
		"at once": {&sandbox.BusyError{Why: "64 wait"}, 503, "1"},
		"quota":   {&sandbox.BusyError{Why: "2 already", Quota: true, Retry: 10 * time.Second}, 429, "10"},
		"closing": {sandbox.ErrClosed, 503, ""},
		"broken":  {errors.New("disk"), 500, ""},
	} {
		w := httptest.NewRecorder()
		s.fail(w, httptest.NewRequest(http.MethodPost, "/sandboxes", nil), fmt.Errorf("create sandbox: %w", c.err))
		if w.Code != c.want || w.Header().Get("Retry-After") != c.retry {
			t.Errorf("%s: %d, Retry-After %q", name, w.Code, w.Header().Get("Retry-After"))
		}
	}
}
