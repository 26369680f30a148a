package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"tapwatch/internal/e2b"
)

// withKey lets only requests with a good key through.
func (s *server) withKey(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch key := r.Header.Get(e2b.HeaderAPIKey); {
		case key == "":
			refuse(w, http.StatusUnauthorized, "%s header is missing", e2b.HeaderAPIKey)
		case !s.knows(key):
			refuse(w, http.StatusUnauthorized, "the API key is not known here")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ownerOf names whose a request is, without telling the key.
func ownerOf(r *http.Request) string {
	sum := sha256.Sum256([]byte(r.Header.Get(e2b.HeaderAPIKey)))
	return hex.EncodeToString(sum[:8])
}

func (s *server) knows(key string) bool {
	sum := sha256.Sum256([]byte(key))
	found := 0
	for _, k := range s.keys {
		found |= subtle.ConstantTimeCompare(sum[:], k[:])
	}
	return found == 1 || len(s.keys) == 0
}

// withHost refuses requests that a web page made: by a name of its own that
// leads here (DNS rebinding), or from another origin.
func (s *server) withHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.serves(r.Host) {
			refuse(w, http.StatusForbidden, "host %.80q is not served here: use an address, localhost, or a name under the configured domain", r.Host)
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" {
			u, err := url.Parse(origin)
			if err != nil || !s.trusts(u.Host, r.Host) {
				refuse(w, http.StatusForbidden, "origin %.80q is not served here", origin)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// trusts reports whether a page of a host may ask: one of this host, as it was asked
// for, of this machine, or of the domain. Pages below the domain are the guests'.
func (s *server) trusts(host, asked string) bool {
	if host != "" && strings.EqualFold(host, asked) {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback()
	}
	domain := strings.ToLower(s.cfg.Domain)
	return host == "localhost" || domain != "" && (host == domain || host == "api."+domain)
}

// serves reports whether a Host is one that nobody else's DNS can point here.
func (s *server) serves(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	domain := strings.ToLower(s.cfg.Domain)
	return domain != "" && (host == domain || strings.HasSuffix(host, "."+domain))
}
