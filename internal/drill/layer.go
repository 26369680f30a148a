package drill

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"tapwatch/internal/sandbox/proxy"
)

// Layer is a layer 1 that can be taken away and brought back.
type Layer struct {
	handler http.Handler
	addr    net.Addr

	mu     sync.Mutex
	server *http.Server
}

// StartLayer serves a proxy at an address; port 0 takes a free one.
func StartLayer(addr string, p *proxy.Proxy) (*Layer, error) {
	l := &Layer{handler: p}
	if err := l.listen(addr); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Layer) listen(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("layer 1: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr, l.server = ln.Addr(), proxy.NewServer(l.handler)
	go func(s *http.Server) { _ = s.Serve(ln) }(l.server) // ends with Close
	return nil
}

// Addr is where it listens, or did.
func (l *Layer) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr
}

// Restart listens again at the same address.
func (l *Layer) Restart() error { return l.listen(l.Addr().String()) }

// Close stops listening and cuts what is open.
func (l *Layer) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("layer 1: %w", err)
	}
	return nil
}
