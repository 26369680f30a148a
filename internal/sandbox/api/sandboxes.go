package api

import (
	"net/http"
)

func (s *server) get(w http.ResponseWriter, r *http.Request) {
	sb, err := s.cfg.Manager.Get(r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, s.detailedOf(sb))
}

// kill answers once everything of the sandbox is gone.
func (s *server) kill(w http.ResponseWriter, r *http.Request) {
	if err := s.cfg.Manager.Kill(r.Context(), r.PathValue("id")); err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// setTimeout sets how long from now the sandbox lives; 0 ends it.
func (s *server) setTimeout(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Timeout *int `json:"timeout"` // seconds
	}
	err := decode(w, r, &body)
	if err == nil && body.Timeout == nil {
		err = badRequestf("timeout: is missing")
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	timeout, err := seconds(body.Timeout, 0)
	if err == nil {
		err = s.cfg.Manager.SetTimeout(r.PathValue("id"), timeout)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
