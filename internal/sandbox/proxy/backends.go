package proxy

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"tapwatch/internal/netns"
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

type backend struct {
	http.Transport
	used time.Time
}

func newBackends(cfg Config) *backends {
	return &backends{cfg: cfg, byID: make(map[string]*backend), pruned: time.Now()}
}

func (b *backends) of(to Target) http.RoundTripper {
	id, now := to.SandboxID, time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.byID[id]
	if t == nil {
		t = &backend{Transport: http.Transport{
			DialContext:            b.dialer(to.Netns),
			DisableCompression:     true,
			MaxIdleConnsPerHost:    idlePerSandbox,
			IdleConnTimeout:        idleTimeout,
			ResponseHeaderTimeout:  b.cfg.FirstByteTimeout,
			MaxResponseHeaderBytes: 256 << 10,
		}}
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

// prune drops, at most once a minute, transports of sandboxes whose end nobody
// told us. One that is still in use works on, its connections are just not kept.
func (b *backends) prune(now time.Time) {
	if now.Sub(b.pruned) < time.Minute {
		return
	}
	b.pruned = now
	for id, t := range b.byID {
		if now.Sub(t.used) > unusedAfter {
			t.CloseIdleConnections()
			delete(b.byID, id)
		}
	}
}

func (b *backends) forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.byID[id]; t != nil {
		t.CloseIdleConnections()
		delete(b.byID, id)
	}
}
