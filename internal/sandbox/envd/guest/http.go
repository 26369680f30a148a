package guest

import (
	"encoding/json"
	"net/http"

	"tapwatch/internal/e2b"
)

// apiError is the body of every refusal outside of Connect RPC.
type apiError struct {
	Code    int    `json:"code"` // the HTTP status
	Message string `json:"message"`
}

// authorized lets only requests through that carry the access token, if one is set.
func (s *Server) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.settings.permits(r.Header.Get(e2b.HeaderAccessToken)) {
			writeError(w, http.StatusUnauthorized, "unauthorized: "+e2b.HeaderAccessToken+" is missing or wrong")
			return
		}
		next(w, r)
	}
}

func writeError(w http.ResponseWriter, code int, message string) {
	writeJSON(w, code, apiError{code, message})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nobody is left to tell
}
