// Package httpapi serves what the agent knows: metrics, the paths as JSON and as
// a page, and the stream of events. It only reads.
package httpapi

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tapwatch/agent/events"
	"tapwatch/agent/metrics"
	"tapwatch/agent/path"
)

// Config is what the API serves.
type Config struct {
	Slots func() []path.Slot
	// Views returns the same without copying: a slot that has not changed since the
	// last time is the same pointer.
	Views   func() []*path.Slot
	Metrics func() metrics.Snapshot
	Also    []prometheus.Collector // exported beside it
	Events  *events.Hub
	// Recorder keeps the histories of sandboxes.
	Recorder Recorder
	// Ready says whether the agent has a full picture; the error says what is missing.
	Ready func() error
	// Lacks lists what the agent may not do here and what that takes away, a line each;
	// nil: nothing.
	Lacks func() []string
	// Levels says which checks are switched off or demoted; nil: none.
	Levels func() path.Levels
	// Latency says how long requests took in the hops of a slot; nil: nobody measures.
	Latency func(*path.Slot) []HopTime
	// Host and Version are what the page says of this host and this program.
	Host, Version string
	Log           *slog.Logger // nil means slog.Default
}

func (c *Config) validate() error {
	if c.Slots == nil || c.Views == nil || c.Metrics == nil || c.Events == nil || c.Recorder == nil || c.Ready == nil {
		return errors.New("httpapi: Slots, Views, Metrics, Events, Recorder and Ready are required")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

type api struct {
	Config
	live  live
	began time.Time
}

// New returns the handler.
func New(cfg Config) (http.Handler, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	a := &api{Config: cfg, began: time.Now()}
	a.live.api = a
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics.Handler(cfg.Metrics, cfg.Log, cfg.Also...))
	mux.HandleFunc("GET /api/v1/paths", a.paths)
	mux.HandleFunc("GET /api/v1/findings", a.findings)
	mux.HandleFunc("GET /api/v1/checks", a.checks)
	mux.HandleFunc("GET /api/v1/events", a.events)
	mux.HandleFunc("GET /api/v1/events/past", a.past)
	mux.HandleFunc("GET /api/v1/sandboxes", a.sandboxes)
	mux.HandleFunc("GET /api/v1/sandboxes/{id}", a.sandbox)
	mux.HandleFunc("GET /api/v1/sandboxes/{id}/history", a.history)
	mux.HandleFunc("GET /api/v1/live", a.serveLive)
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /{$}", a.index)
	mux.Handle("GET /ui/", static())
	mux.HandleFunc("GET /checks/{$}", a.document)
	mux.HandleFunc("GET /checks/{name}", a.document)
	mux.HandleFunc("GET /docs/{name}", a.document)
	return localOnly(mux), nil
}

// paths answers {"paths": [...]}, each a path.Slot.
func (a *api) paths(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"paths": a.Slots()})
}

// checks answers which checks are switched off or demoted: path.Levels.
func (a *api) checks(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, a.levels())
}

func (a *api) levels() (l path.Levels) {
	if a.Levels != nil {
		l = a.Levels()
	}
	return l
}

// healthz answers 200 once the agent has a full picture, 503 with the reason before.
func (a *api) healthz(w http.ResponseWriter, r *http.Request) {
	if err := a.Ready(); err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// The client has gone away if this fails; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(v)
}

// localOnly refuses requests that came to a loopback address under a foreign
// name: a web page that has its own name resolve to 127.0.0.1 must not read what
// this host's sandboxes do.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if local != nil && isLoopback(local.String()) && !isLocalName(r.Host) {
			http.Error(w, "this agent answers on loopback only to localhost, not to "+r.Host, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopback(addr string) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

func isLocalName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(trimBrackets(host))
	return err == nil && ip.Unmap().IsLoopback()
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

// Server returns an http.Server for the handler with the limits that a port
// which anyone on the host may reach must have. Events stream for as long as the
// client likes, so there is no write timeout.
func Server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
}
