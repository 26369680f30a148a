// Package guest is the daemon inside a sandbox. It speaks envd's protocol, so
// that E2B's clients work against it unchanged: plain HTTP for health, set-up
// and files, Connect RPC for processes and directories.
package guest

import (
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"tapwatch/internal/sandbox/envd/proto/filesystem"
	"tapwatch/internal/sandbox/envd/proto/process"
)

// Version is the version of E2B's envd whose protocol is spoken. Clients choose
// features by it: from 0.4.0 they leave the default user to the daemon, from
// 0.5.2 they close stdin, from 0.5.7 they upload files without multipart.
const Version = "0.5.7"

const (
	// maxMessage bounds one RPC message from a client, in bytes.
	maxMessage = 8 << 20
	// compressFrom is the size from which answers are compressed where the client
	// takes it, in bytes. Output comes in smaller pieces: an emulated CPU is dearer than the wire.
	compressFrom = 1 << 20
)

// Config says how the daemon runs. The zero value serves.
type Config struct {
	Log *slog.Logger // nil: silent
	// SetClock sets the machine's clock to the host's time that /init brings;
	// nil leaves the clock alone.
	SetClock func(time.Time) error
	// Reaper collects orphans where the daemon is PID 1; nil elsewhere.
	Reaper *Reaper
}

// Server is the daemon as an HTTP handler. All of it may be used at once by
// many clients.
type Server struct {
	cfg       Config
	mux       *http.ServeMux
	settings  settings
	cpu       cpuMeter
	processes *table
	watchers  watchers
}

// New returns a daemon without an access token and without processes.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), processes: newTable()}
	s.mux.HandleFunc("GET /health", s.health)
	s.mux.HandleFunc("POST /init", s.init)
	s.mux.HandleFunc("GET /metrics", s.authorized(s.metrics))
	s.mux.HandleFunc("GET /envs", s.authorized(s.envs))
	s.mux.HandleFunc("GET /files", s.authorizedFor(reading, s.download))
	s.mux.HandleFunc("POST /files", s.authorizedFor(writing, s.upload))

	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(maxMessage),
		connect.WithCompressMinBytes(compressFrom),
	}
	path, handler := process.NewProcessHandler(&processService{server: s}, options...)
	s.mux.HandleFunc(path, s.authorized(handler.ServeHTTP))
	path, handler = filesystem.NewFilesystemHandler(&filesystemService{server: s}, options...)
	s.mux.HandleFunc(path, s.authorized(handler.ServeHTTP))
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close kills every process that was started, waits until all are gone, and
// ends the watchers that were left.
func (s *Server) Close() {
	s.processes.killAll()
	s.watchers.closeAll()
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}
