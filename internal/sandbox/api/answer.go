package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/template"
)

// maxBody bounds a request's body, in bytes, and bodyTime how long it may take.
const (
	maxBody  = 1 << 20
	bodyTime = 10 * time.Second
)

var errSlowBody = fmt.Errorf("read body: it did not come within %v", bodyTime)

// withBodyTime bounds how long a request's body may take.
func withBodyTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // every server of ours can
		}
		next.ServeHTTP(w, r)
	})
}

// problem is the body of every refusal.
type problem struct {
	Code    int    `json:"code"` // the status again
	Message string `json:"message"`
}

// badRequest is an error that is the client's fault.
type badRequest string

func (b badRequest) Error() string { return string(b) }

func badRequestf(format string, args ...any) error { return badRequest(fmt.Sprintf(format, args...)) }

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only where the client has gone
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	answer(w, status, problem{status, fmt.Sprintf(format, args...)})
}

// fail refuses with the status that an error stands for; what is our own fault is logged.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	var busy *sandbox.BusyError
	if errors.As(err, &busy) {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(max(1, busy.Retry.Seconds())))))
	}
	if status == http.StatusInternalServerError && r.Context().Err() == nil {
		s.cfg.Log.Error("control API", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	refuse(w, status, "%v", err)
}

func statusOf(err error) int {
	var bad badRequest
	var busy *sandbox.BusyError
	switch {
	case errors.As(err, &busy) && busy.Quota:
		return http.StatusTooManyRequests
	case errors.As(err, &busy), errors.Is(err, sandbox.ErrClosed):
		return http.StatusServiceUnavailable
	case errors.Is(err, errSlowBody):
		return http.StatusRequestTimeout
	case errors.As(err, &bad):
		return http.StatusBadRequest
	case errors.Is(err, sandbox.ErrNotFound), errors.Is(err, template.ErrNotFound):
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

// decode reads a JSON body into v; an empty one leaves v as it is. The error is
// a badRequest that names the field.
func decode(w http.ResponseWriter, r *http.Request, v any) (err error) {
	defer func() {
		if err == nil { // what is being done may take longer
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		}
	}()
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	err = d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil && d.More() {
		return badRequestf("read body: more than one JSON value")
	}
	var mistyped *json.UnmarshalTypeError
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mistyped):
		return badRequestf("%s: %s does not fit, want %s", mistyped.Field, mistyped.Value, mistyped.Type)
	case errors.As(err, &large):
		return badRequestf("read body: more than %d bytes", large.Limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errSlowBody
	}
	return badRequestf("read body: %v", err)
}
