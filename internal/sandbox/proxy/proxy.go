// Package proxy is layer 1 of the data path: HTTP from clients on the host to
// the relay of the sandbox that the request names. What it cannot deliver it
// answers with 502 and a JSON body, as E2B's clients need it: by them a reset
// is an exception, a 502 is a sandbox that is not running.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"time"
)

// DefaultPort is envd's, where a request names none.
const DefaultPort = 49983

// What a Resolver may return.
var (
	ErrUnknownSandbox = errors.New("the sandbox was not found")
	ErrAmbiguous      = errors.New("several sandboxes run: name one by E2b-Sandbox-Id or by Host {port}-{id}.{domain}")
)

// Target is where one port of a sandbox is reached.
type Target struct {
	SandboxID string // also where the request named none
	Addr      netip.AddrPort
	Netns     string // of Addr, a name or path; "" is the proxy's own
	Direct    bool   // Addr is the guest's own, not a relay's
	// Why tells, where it is known, what was wrong behind Addr when it was last
	// tried, and nil where nothing was. It may be nil itself.
	Why func() error
}

// Resolver finds a sandbox's port; an empty id means the only sandbox. It
// returns ErrUnknownSandbox or ErrAmbiguous where that is the case.
type Resolver func(ctx context.Context, sandboxID string, port int) (Target, error)

// Config says how to route. Resolve must be set.
type Config struct {
	Resolve Resolver
	Domain  string       // of Host {port}-{id}.{domain}; "" means any
	Log     *slog.Logger // nil means slog.Default()

	DialTimeout time.Duration // to the relay; 0 means 5 s
	// FirstByteTimeout bounds a sandbox that took the request and is silent; 0
	// means 10 min. It does not bound a stream that has begun.
	FirstByteTimeout time.Duration
	// MaxRequests bounds the requests and upgraded connections to one sandbox that
	// are open at once, so that a flood of one takes no descriptors and memory of
	// the others; 0 means DefaultMaxRequests.
	MaxRequests int
	// Paired, where it is set, is told for each request the socket cookies of the
	// client's connection and of the one to the sandbox, before the sandbox sees the
	// request's first byte. It is called by many goroutines.
	Paired func(front, back uint64)
}

// DefaultMaxRequests is how many requests to one sandbox may be open at once.
const DefaultMaxRequests = 4096

func (c *Config) validate() error {
	if c.Resolve == nil {
		return errors.New("proxy: no resolver")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = 5 * time.Second
	}
	if c.FirstByteTimeout == 0 {
		c.FirstByteTimeout = 10 * time.Minute
	}
	if c.MaxRequests == 0 {
		c.MaxRequests = DefaultMaxRequests
	}
	if c.MaxRequests < 0 {
		return fmt.Errorf("proxy: at most %d requests a sandbox: must be above 0", c.MaxRequests)
	}
	return nil
}

// Proxy is an http.Handler.
type Proxy struct {
	cfg      Config
	backends *backends
}

// New returns a proxy; it needs a server with limits, such as NewServer's.
func New(cfg Config) (*Proxy, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Proxy{cfg: cfg, backends: newBackends(cfg)}, nil
}

// ServeHTTP passes one request on and its answer back, each byte as it comes.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, port, err := parseRoute(r, p.cfg.Domain)
	if err != nil {
		answer(w, http.StatusBadRequest, failure{Message: err.Error()})
		return
	}
	target, err := p.cfg.Resolve(r.Context(), id, port)
	if err != nil {
		if errors.Is(err, ErrUnknownSandbox) {
			p.Forget(id)
		}
		answer(w, statusOf(err), failure{SandboxID: id, Message: err.Error(), Port: port})
		return
	}
	to := p.backends.of(target)
	if !to.enter(p.cfg.MaxRequests) {
		answer(w, http.StatusTooManyRequests, failure{
			SandboxID: target.SandboxID, Message: fmt.Sprintf("the sandbox has %d requests open already", p.cfg.MaxRequests), Port: port,
		})
		return
	}
	defer to.leave()
	// Else Go would read the whole request before it lets the answer begin.
	_ = http.NewResponseController(w).EnableFullDuplex() // not there in HTTP/2, which needs it not
	if p.cfg.Paired != nil {
		r = traced(r, p.cfg.Paired)
	}
	p.forward(target, to).ServeHTTP(w, r)
}

// Forget resets the connections to a sandbox that is gone, those in use too,
// before another may have its address.
func (p *Proxy) Forget(sandboxID string) { p.backends.forget(sandboxID) }

func (p *Proxy) forward(target Target, to http.RoundTripper) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			r.Out.URL.Host = target.Addr.String()
			r.Out.URL.RawQuery = r.In.URL.RawQuery // also what Go cannot parse: it is the sandbox's
			r.Out.Host = r.In.Host
		},
		Transport:     to,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil { // else the client has gone, and nobody reads this
				p.cfg.Log.Debug("proxy cannot reach the sandbox", "sandbox_id", target.SandboxID, "addr", target.Addr, "err", err)
			}
			answer(w, http.StatusBadGateway, failure{
				SandboxID: target.SandboxID, Message: explain(err, target), Port: int(target.Addr.Port()),
			})
		},
	}
}

// NewServer returns a server for the proxy (or any handler on this path) that
// slow or endless headers cannot exhaust. Bodies are not bounded in time:
// streams last as long as their command.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       10 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnContext:       withFront,
	}
}
