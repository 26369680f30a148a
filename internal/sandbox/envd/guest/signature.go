package guest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// What a URL may be signed for.
const (
	reading = "read"
	writing = "write"
)

// authorizedFor lets requests for a file through that carry the access token,
// or a signature made with it: a URL to hand out, for this path, user and
// operation alone, and until it expires.
func (s *Server) authorizedFor(operation string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if !q.Has("signature") {
			s.authorized(next)(w, r)
			return
		}
		token := s.settings.accessToken()
		if token == "" {
			next(w, r) // nothing is asked for
			return
		}
		if !signed(q, operation, token) {
			writeError(w, http.StatusUnauthorized, "unauthorized: the signature does not fit the request")
			return
		}
		if expired(q.Get("signature_expiration")) {
			writeError(w, http.StatusUnauthorized, "unauthorized: the signature has expired")
			return
		}
		next(w, r)
	}
}

func signed(q url.Values, operation, token string) bool {
	text := q.Get("path") + ":" + operation + ":" + q.Get("username") + ":" + token
	if until := q.Get("signature_expiration"); until != "" {
		text += ":" + until
	}
	sum := sha256.Sum256([]byte(text))
	want := "v1_" + base64.RawStdEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(q.Get("signature")), []byte(want)) == 1
}

// expired reads Unix seconds; none at all is for ever.
func expired(until string) bool {
	if until == "" {
		return false
	}
	n, err := strconv.ParseInt(until, 10, 64)
	return err != nil || time.Now().Unix() > n
}
