package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"

	"golang.org/x/sys/unix"

	"tapwatch/internal/sandbox/metrics"
)

// serveLayers answers GET /metrics at an address with what layers have counted,
// until ctx ends. The channel is closed then, or tells why it ended before. Where
// two take turns at one address (shared), both may listen for a moment.
func serveLayers(ctx context.Context, addr string, shared bool, layers func() []metrics.Layer) (<-chan error, error) {
	var cfg net.ListenConfig
	if shared {
		cfg.Control = func(_, _ string, c syscall.RawConn) (err error) {
			return errors.Join(c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}), err)
		}
	}
	l, err := cfg.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--metrics-listen %s: %w", addr, err)
	}
	s := metrics.Server(layers, slog.Default())
	context.AfterFunc(ctx, func() { s.Close() })
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			ended <- fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
	}()
	return ended, nil
}
