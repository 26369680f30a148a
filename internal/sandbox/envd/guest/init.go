package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"tapwatch/internal/e2b"
)

// maxInit bounds the body of /init, in bytes.
const maxInit = 1 << 20

// clockSlack is how far the clock may be off before /init sets it: the request's
// own way through proxy, relay and tap takes a few milliseconds.
const clockSlack = 50 * time.Millisecond

// initRequest is the body of POST /init; fields that we have no use for are ignored.
type initRequest struct {
	EnvVars        map[string]string `json:"envVars"`
	AccessToken    string            `json:"accessToken"`
	Timestamp      *time.Time        `json:"timestamp"` // the host's time
	DefaultUser    string            `json:"defaultUser"`
	DefaultWorkdir string            `json:"defaultWorkdir"`
}

// init takes the host's settings. Once a token is set, only who knows it may
// call again, be it in the header or in the body.
func (s *Server) init(w http.ResponseWriter, r *http.Request) {
	var req initRequest
	body := http.MaxBytesReader(w, r.Body, maxInit)
	if err := json.NewDecoder(body).Decode(&req); err != nil && !errors.Is(err, io.EOF) {
		writeError(w, http.StatusBadRequest, "read body: "+err.Error())
		return
	}
	if !s.settings.permits(r.Header.Get(e2b.HeaderAccessToken)) && !s.settings.permits(req.AccessToken) {
		writeError(w, http.StatusUnauthorized, "access token already set: send it as "+e2b.HeaderAccessToken)
		return
	}
	if req.DefaultUser != "" {
		if _, err := lookup(req.DefaultUser); err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	if err := s.setClock(req.Timestamp); err != nil {
		s.cfg.Log.Error("init", "err", err) // a wrong clock is no reason to refuse the sandbox
	}
	s.settings.apply(req)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// setClock moves the clock to the host's; requests that were overtaken are ignored.
func (s *Server) setClock(host *time.Time) error {
	if host == nil || s.cfg.SetClock == nil || !s.settings.newer(*host) {
		return nil
	}
	if off := time.Until(*host); off.Abs() < clockSlack {
		return nil
	}
	if err := s.cfg.SetClock(*host); err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	return nil
}

// envs answers GET /envs with the variables that /init set.
func (s *Server) envs(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.settings.environment())
}
