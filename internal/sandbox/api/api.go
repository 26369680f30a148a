// Package api is the control API that E2B's clients and SDKs speak: create,
// find, list, time and kill sandboxes. Refusals are JSON {code, message}, where
// code repeats the status, which the SDKs read.
package api

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"

	"tapwatch/internal/sandbox"
)

// Config says whom to serve. Manager must be set.
type Config struct {
	Manager *sandbox.Manager
	// Keys are the API keys that are let in. Without any, every non-empty key is:
	// fit for loopback alone, because who can reach the API can run code.
	Keys []string
	// Domain is told to clients, who build {port}-{id}.{domain} from it, and is
	// accepted as the Host of requests, as are its subdomains. Empty: clients use
	// their own, and only addresses and localhost are accepted.
	Domain string
	Log    *slog.Logger // nil means slog.Default()
}

func (c *Config) validate() error {
	if c.Manager == nil {
		return errors.New("api: no manager")
	}
	for _, k := range c.Keys {
		if k == "" {
			return errors.New("api: an API key is empty")
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

type server struct {
	cfg  Config
	keys [][sha256.Size]byte // hashed, so that comparing tells nothing about lengths
}

// New returns the API's handler.
func New(cfg Config) (http.Handler, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &server{cfg: cfg}
	for _, k := range cfg.Keys {
		s.keys = append(s.keys, sha256.Sum256([]byte(k)))
	}
	keyed := http.NewServeMux()
	for _, v := range []string{"", "/v2"} { // of which clients use either, by their age
		keyed.HandleFunc("POST "+v+"/sandboxes", s.create(v == "/v2"))
		keyed.HandleFunc("POST "+v+"/sandboxes/{id}/connect", s.connect)
	}
	keyed.HandleFunc("GET /sandboxes", s.list(false))
	keyed.HandleFunc("GET /v2/sandboxes", s.list(true))
	keyed.HandleFunc("GET /sandboxes/{id}", s.get)
	keyed.HandleFunc("DELETE /sandboxes/{id}", s.kill)
	keyed.HandleFunc("POST /sandboxes/{id}/timeout", s.setTimeout)
	keyed.HandleFunc("GET /sandboxes/{id}/metrics", s.metrics)
	keyed.HandleFunc("GET /sandboxes/{id}/console", s.console) // ours alone
	keyed.HandleFunc("GET /connections", s.connections)        // likewise
	keyed.HandleFunc("/sandboxes/{id}/{what...}", s.unsupported)
	keyed.HandleFunc("/", s.noRoute)

	all := http.NewServeMux()
	all.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	all.Handle("/", s.withKey(keyed))
	return withBodyTime(s.withHost(all)), nil
}

// unsupported is what E2B can do with a sandbox and we cannot: said plainly,
// because clients take 404 for a sandbox that does not exist.
func (s *server) unsupported(w http.ResponseWriter, r *http.Request) {
	refuse(w, http.StatusNotImplemented, "%s of a sandbox is not supported here", r.PathValue("what"))
}

func (s *server) noRoute(w http.ResponseWriter, r *http.Request) {
	refuse(w, http.StatusNotFound, "no such endpoint: %s %s", r.Method, r.URL.Path)
}
