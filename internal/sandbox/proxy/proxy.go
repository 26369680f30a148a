// Package proxy is the first hop of the data path: it takes HTTP from clients on the
// host to the sandbox that each request names. What it cannot deliver it answers
// with 502 and a JSON body, as E2B's clients need it: by them a reset is an
// exception, a 502 is a sandbox that is not running.
//
// It reads the heads of messages, to know where each request leads and where it
// ends, and changes nothing: bodies, upgrades and all else pass through the engine
// of package stream.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/sandbox/stream"
)

// What a Resolver may return.
var (
	ErrUnknownSandbox = errors.New("the sandbox was not found")
	ErrAmbiguous      = errors.New("several sandboxes run: name one by " + e2b.HeaderSandboxID + " or by Host {port}-{id}.{domain}")
)

// Target is where one port of a sandbox is reached.
type Target struct {
	SandboxID string // also where the request named none
	Addr      netip.AddrPort
	Netns     string // of Addr, a name or path; "" is the proxy's own
	Direct    bool   // Addr is the guest's own, not a relay's
	// Keep says that the answer holds until Forget or ForgetPort: the resolver needs
	// not be asked again.
	Keep bool
	// Why tells, where it is known, what was wrong behind Addr when it was last
	// tried, and nil where nothing was. It may be nil itself.
	Why func() error
}

// Resolver finds a sandbox's port; an empty id means the only sandbox. It
// returns ErrUnknownSandbox or ErrAmbiguous where that is the case. It may take
// its time, until ctx ends: then its client has gone.
type Resolver func(ctx context.Context, sandboxID string, port int) (Target, error)

// Config says how to route. Resolve must be set.
type Config struct {
	Resolve Resolver
	Domain  string       // of Host {port}-{id}.{domain}; "" means any
	Log     *slog.Logger // nil means slog.Default()
	Named   bool         // from another machine a request must name its sandbox
	Limits

	// Paired, where it is set, is told for each request the socket cookies of the
	// client's connection and of the one to the sandbox, before the sandbox sees the
	// request's first byte. It is called on the loops, and must not wait.
	Paired func(front, back uint64)
	Heard  func() bool // as in stream.Config
}

func (c *Config) validate() error {
	if c.Resolve == nil {
		return errors.New("proxy: no resolver")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c.Limits.validate()
}

// Proxy routes connections. All methods may be called concurrently.
type Proxy struct {
	cfg      Config
	engine   *stream.Engine
	backends *backends
	draining atomic.Bool
}

// New returns a proxy that listens nowhere yet. It must be closed.
func New(cfg Config) (*Proxy, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	engine, err := stream.New(stream.Config{
		Log: cfg.Log, MaxOpen: cfg.MaxOpen, DialTimeout: cfg.DialTimeout, HeadTimeout: cfg.HeaderTimeout, UserTimeout: cfg.UserTimeout,
		Paired: cfg.Paired, Heard: cfg.Heard,
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return &Proxy{cfg: cfg, engine: engine, backends: newBackends(cfg, engine)}, nil
}

// Listen takes connections at an address; port 0 takes a free one, no host means
// every address. The error wraps EADDRINUSE where that is the cause.
func (p *Proxy) Listen(addr string) (*stream.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer l.Close() // the engine has its own
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	defer f.Close()
	return p.Take(f)
}

// Take takes connections of a listening socket that was made elsewhere; f stays
// the caller's to close.
func (p *Proxy) Take(f *os.File) (*stream.Listener, error) {
	return p.engine.Take(f, stream.ListenConfig{Handler: p})
}

// Forget resets the connections to a sandbox that is gone, those in use too,
// before another may have its address.
func (p *Proxy) Forget(sandboxID string) { p.backends.forget(sandboxID) }

// ForgetPort has the resolver asked again for a port of a sandbox. Connections
// stay as they are.
func (p *Proxy) ForgetPort(sandboxID string, port int) { p.backends.unkeep(sandboxID, port) }

// Drain stops listening, ends connections between two requests, and returns when
// the last one has ended, or with an error when ctx ends.
func (p *Proxy) Drain(ctx context.Context) error {
	p.draining.Store(true)
	p.engine.Visit(func(c *stream.Conn) {
		if s := sessionOf(c); !s.asked && !s.partial && s.question == nil {
			c.ExpectWithin(atOnce)
		}
	})
	return p.engine.Drain(ctx)
}

// atOnce ends what is expected at the next look.
const atOnce = time.Nanosecond

// Close stops listening and cuts every connection.
func (p *Proxy) Close() error { return p.engine.Close() }
