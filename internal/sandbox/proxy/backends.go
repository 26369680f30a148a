package proxy

import (
	"net"
	"net/http"
	"sync"
	"time"
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

func (b *backends) of(id string) http.RoundTripper {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.byID[id]
	if t == nil {
		t = &backend{Transport: http.Transport{
			DialContext:            (&net.Dialer{Timeout: b.cfg.DialTimeout}).DialContext,
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
