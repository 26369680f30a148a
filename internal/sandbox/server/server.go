// Package server is the launcher as a service: a sandbox.Manager with the
// control API and the proxy in front of it.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/api"
	"tapwatch/internal/sandbox/metrics"
	"tapwatch/internal/sandbox/proxy"
	"tapwatch/internal/sandbox/stream"
)

// Config says what to serve and where; the zero value is right for a host.
type Config struct {
	Sandbox     sandbox.Config
	APIListen   string // of the control API; empty means 127.0.0.1:3000
	ProxyListen string // of the proxy; empty means 127.0.0.1:49983
	// MetricsListen is where GET /metrics tells what the data path counted; empty:
	// nowhere.
	MetricsListen string
	Keys          []string // of the control API; none: any non-empty key, on loopback only
	Domain        string   // of Host {port}-{id}.{domain}; empty means any
	Limits        proxy.Limits
	Log           *slog.Logger
}

func (c *Config) validate() error {
	if c.APIListen == "" {
		c.APIListen = "127.0.0.1:3000"
	}
	if c.ProxyListen == "" {
		c.ProxyListen = net.JoinHostPort("127.0.0.1", strconv.Itoa(e2b.EnvdPort))
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if len(c.Keys) == 0 && !loopback(c.APIListen) {
		return fmt.Errorf("the control API at %s can be reached from elsewhere, and whoever reaches it can run code: set an API key", c.APIListen)
	}
	return nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Server is a launcher with its two ports.
type Server struct {
	manager *sandbox.Manager
	api     *service
	metrics *service // nil: nowhere
	layer   *stream.Listener
}

// service is a port that speaks HTTP.
type service struct {
	listener net.Listener
	server   *http.Server
}

// New takes both ports and starts the manager, so that what cannot work is said
// at once. Close it if Run is not called.
func New(cfg Config) (_ *Server, err error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.api, err = listen("the control API", "--api-listen", cfg.APIListen); err != nil {
		return nil, err
	}
	cfg.Sandbox.Log = cfg.Log
	if s.manager, err = sandbox.New(cfg.Sandbox); err != nil {
		return nil, err
	}
	handler, err := api.New(api.Config{Manager: s.manager, Keys: cfg.Keys, Domain: cfg.Domain, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	s.api.server = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	p, err := s.manager.Proxy(proxy.Config{Domain: cfg.Domain, Limits: cfg.Limits})
	if err != nil {
		return nil, err
	}
	if s.layer, err = p.Listen(cfg.ProxyListen); err != nil {
		return nil, inUse("the proxy", "--proxy-listen", cfg.ProxyListen, err)
	}
	if cfg.MetricsListen != "" {
		if s.metrics, err = listen("metrics", "--metrics-listen", cfg.MetricsListen); err != nil {
			return nil, err
		}
		s.metrics.server = metrics.Server(s.manager.Layers, cfg.Log)
	}
	return s, nil
}

func listen(what, flag, addr string) (*service, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, inUse(what, flag, addr, err)
	}
	return &service{listener: l}, nil
}

// inUse says why nobody can listen at an address, and what to do.
func inUse(what, flag, addr string, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%s: %s is in use: stop what listens there, or choose another address with %s", what, addr, flag)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Manager is the manager behind the ports.
func (s *Server) Manager() *sandbox.Manager { return s.manager }

// APIAddr is where the control API answers.
func (s *Server) APIAddr() *net.TCPAddr { return s.api.listener.Addr().(*net.TCPAddr) }

// ProxyAddr is where the proxy answers.
func (s *Server) ProxyAddr() *net.TCPAddr { return net.TCPAddrFromAddrPort(s.layer.Addr()) }

// Run serves until the context ends, then removes every sandbox and slot.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(s.api.serve)
	if s.metrics != nil {
		g.Go(s.metrics.serve)
	}
	g.Go(func() error {
		<-ctx.Done()
		s.api.close()
		s.metrics.close()
		s.manager.End()
		s.layer.Close() // with what is open: the sandboxes behind it go in the same moment
		return nil
	})
	return g.Wait()
}

func (s *service) serve() error {
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.listener.Addr(), err)
	}
	return nil
}

// close cuts what is open: the sandboxes behind it go in the same moment.
func (s *service) close() {
	if s == nil {
		return
	}
	if s.server != nil {
		_ = s.server.Close() // its listener's error, of no use
	}
	_ = s.listener.Close()
}

// Close gives everything back; it may be called twice.
func (s *Server) Close() error {
	s.api.close()
	s.metrics.close()
	if s.layer != nil {
		s.layer.Close()
	}
	if s.manager == nil {
		return nil
	}
	return s.manager.Close()
}
