package proxy

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox/stream"
)

const (
	idlePerSandbox = 32
	idleTimeout    = 30 * time.Second // of a connection to a relay
	unusedAfter    = 10 * time.Minute // a transport that nobody asked for since is dropped
)

// backends holds one transport a sandbox. They are apart so that a connection
// kept alive to one sandbox can never serve another that gets its address.
type backends struct {
	cfg Config

	mu     sync.Mutex
	byID   map[string]*backend
	pruned time.Time
}

// backend is the way to one sandbox, with the connections on it.
type backend struct {
	http.Transport
	id   string
	used time.Time    // guarded by backends.mu
	open atomic.Int64 // requests

	mu         sync.Mutex
	gone       bool // no connection may be added
	conns      map[*conn]struct{}
	counts     Stats // of connections: all that were opened, else those that ended
	reasons    map[stream.Reason]int64
	dialErrors map[syscall.Errno]int64
}

func newBackends(cfg Config) *backends {
	return &backends{cfg: cfg, byID: make(map[string]*backend), pruned: time.Now()}
}

func (b *backends) of(to Target) *backend {
	id, now := to.SandboxID, time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.byID[id]
	if t == nil {
		t = &backend{
			id: id, conns: make(map[*conn]struct{}),
			reasons: make(map[stream.Reason]int64), dialErrors: make(map[syscall.Errno]int64),
			Transport: http.Transport{
				DisableCompression:     true,
				MaxIdleConnsPerHost:    idlePerSandbox,
				IdleConnTimeout:        idleTimeout,
				ResponseHeaderTimeout:  b.cfg.FirstByteTimeout,
				MaxResponseHeaderBytes: 256 << 10,
			},
		}
		dial := b.dialer(to.Netns)
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return t.dial(ctx, func(ctx context.Context) (net.Conn, error) { return dial(ctx, network, addr) })
		}
		b.byID[id] = t
	}
	t.used = now
	b.prune(now)
	return t
}

// dialer dials from inside a namespace; "" is the proxy's own.
func (b *backends) dialer(ns string) func(context.Context, string, string) (net.Conn, error) {
	if ns == "" {
		return (&net.Dialer{Timeout: b.cfg.DialTimeout}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, b.cfg.DialTimeout)
		defer cancel()
		to, err := netip.ParseAddrPort(addr)
		if err != nil {
			return nil, err
		}
		c, err := netns.DialTCP(ctx, ns, to)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Err: err}
		}
		return c, nil
	}
}

// dial opens a connection that is counted, and cut with the sandbox.
func (b *backend) dial(ctx context.Context, open func(context.Context) (net.Conn, error)) (net.Conn, error) {
	begun := time.Now()
	plain, err := open(ctx)
	if err != nil {
		b.failed(err)
		return nil, err
	}
	c := &conn{TCPConn: plain.(*net.TCPConn), owner: b, opened: time.Now()}
	c.connect = c.opened.Sub(begun)
	c.cookie = sync.OnceValue(func() uint64 { return cookieOf(c.TCPConn) })
	tune(c.TCPConn)
	b.mu.Lock()
	gone := b.gone
	b.conns[c] = struct{}{}
	b.counts.Opened++
	b.counts.ConnectUS += c.connect.Microseconds()
	b.mu.Unlock()
	if gone { // while it was dialled
		c.cut()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
	}
	return c, nil
}

// enter begins a request, unless that many are open already.
func (b *backend) enter(limit int) bool {
	if b.open.Add(1) > int64(limit) {
		b.leave()
		return false
	}
	return true
}

func (b *backend) leave() { b.open.Add(-1) }

// cut resets every connection and lets none be added.
func (b *backend) cut() {
	b.mu.Lock()
	b.gone = true
	conns := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		conns = append(conns, c)
	}
	b.mu.Unlock()
	for _, c := range conns {
		c.cut()
	}
	b.CloseIdleConnections()
}

// prune drops, at most once a minute, transports of sandboxes whose end nobody
// told us, but for those in use.
func (b *backends) prune(now time.Time) {
	if now.Sub(b.pruned) < time.Minute {
		return
	}
	b.pruned = now
	for id, t := range b.byID {
		if now.Sub(t.used) > unusedAfter && !t.busy() {
			t.CloseIdleConnections()
			delete(b.byID, id)
		}
	}
}

func (b *backend) busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.conns) > 0 // idle ones have ended long before unusedAfter
}

func (b *backends) forget(id string) {
	b.mu.Lock()
	t := b.byID[id]
	delete(b.byID, id)
	b.mu.Unlock()
	if t != nil {
		t.cut()
	}
}
