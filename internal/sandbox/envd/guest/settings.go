package guest

import (
	"crypto/subtle"
	"maps"
	"sync"
	"time"
)

// settings are what /init gave; it may come again, e.g. after a resume.
type settings struct {
	mu      sync.RWMutex
	token   string            // empty: none is asked for
	env     map[string]string // of every process
	user    string            // empty: see defaultAccount
	workdir string            // empty: the user's home
	at      time.Time         // the newest timestamp seen
}

// permits reports whether a client with this token may use the daemon.
func (s *settings) permits(token string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.token == "" || subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

// accessToken returns the token that is asked for; empty is none.
func (s *settings) accessToken() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.token
}

// newer reports whether at is later than any timestamp before it, and remembers it.
func (s *settings) newer(at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !at.After(s.at) {
		return false
	}
	s.at = at
	return true
}

// apply takes over what the request names and leaves the rest as it is.
func (s *settings) apply(r initRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.AccessToken != "" {
		s.token = r.AccessToken
	}
	if r.EnvVars != nil {
		s.env = maps.Clone(r.EnvVars)
	}
	if r.DefaultUser != "" {
		s.user = r.DefaultUser
	}
	if r.DefaultWorkdir != "" {
		s.workdir = r.DefaultWorkdir
	}
}

// environment returns a copy of the variables of every process, never nil.
func (s *settings) environment() map[string]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	env := maps.Clone(s.env)
	if env == nil {
		env = map[string]string{}
	}
	return env
}

// defaults returns the user and the directory of requests that name none.
func (s *settings) defaults() (user, workdir string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.user, s.workdir
}
