package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/template"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

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
	if status == http.StatusInternalServerError && r.Context().Err() == nil {
		s.cfg.Log.Error("control API", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	refuse(w, status, "%v", err)
}

func statusOf(err error) int {
	var bad badRequest
	switch {
	case errors.As(err, &bad):
		return http.StatusBadRequest
	case errors.Is(err, sandbox.ErrNotFound), errors.Is(err, template.ErrNotFound):
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

// decode reads a JSON body into v; an empty one leaves v as it is. The error is
// a badRequest that names the field.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	err := d.Decode(v)
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
	return badRequestf("read body: %v", err)
}
