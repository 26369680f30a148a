package drill

import (
	"fmt"
	"net"
	"sync"

	"tapwatch/internal/sandbox/proxy"
	"tapwatch/internal/sandbox/stream"
)

// Layer is a proxy that can be taken away and brought back.
type Layer struct {
	proxy *proxy.Proxy

	mu       sync.Mutex
	listener *stream.Listener
}

// StartLayer serves a proxy at an address; port 0 takes a free one.
func StartLayer(addr string, p *proxy.Proxy) (*Layer, error) {
	l := &Layer{proxy: p}
	if err := l.listen(addr); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Layer) listen(addr string) error {
	ln, err := l.proxy.Listen(addr)
	if err != nil {
		return fmt.Errorf("start the proxy: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener = ln
	return nil
}

// Addr is where it listens, or did.
func (l *Layer) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return net.TCPAddrFromAddrPort(l.listener.Addr())
}

// Restart listens again at the same address.
func (l *Layer) Restart() error { return l.listen(l.Addr().String()) }

// Close stops listening and cuts what is open.
func (l *Layer) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener.Close()
	return nil
}
