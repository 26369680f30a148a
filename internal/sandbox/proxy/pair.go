package proxy

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// frontKey is where a request's context has the client's connection.
type frontKey struct{}

// front is a client's connection.
type front struct {
	conn   net.Conn
	cookie func() uint64
}

// withFront is an http.Server's ConnContext.
func withFront(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, frontKey{}, &front{c, sync.OnceValue(func() uint64 { return cookieOf(c) })})
}

// traced returns the request such that told hears of the pair of connections that
// carries it, before its first byte is written to the sandbox. Without a cookie of
// both, which a server other than NewServer's does not give, it hears nothing.
func traced(r *http.Request, told func(front, back uint64)) *http.Request {
	client, ok := r.Context().Value(frontKey{}).(*front)
	if !ok {
		return r
	}
	return r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) {
			to, ok := got.Conn.(*conn)
			if a := client.cookie(); ok && a != 0 && to.cookie() != 0 {
				told(a, to.cookie())
			}
		},
	}))
}

// cookieOf returns the kernel's name of a socket, which no other ever has, and 0
// where it cannot be told.
func cookieOf(c net.Conn) (cookie uint64) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0
	}
	err = raw.Control(func(fd uintptr) {
		if v, err := unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE); err == nil {
			cookie = v
		}
	})
	if err != nil {
		return 0
	}
	return cookie
}
