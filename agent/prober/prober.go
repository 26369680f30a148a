// Package prober asks envd for its health: straight at the guest's address from
// inside the slot's namespace, so that what is in front of the tap takes no part in
// it, or through the whole path, as clients do.
package prober

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
)

// Patience is how long an answer may take, the connection's time included. Twenty
// emulated guests on two busy CPUs took more than two seconds.
const Patience = 5 * time.Second

// Health asks once for a path, from inside a namespace. It returns what came of it, never an
// error: that is what is asked for.
func Health(ctx context.Context, ns string, envd netip.AddrPort, at string) path.Health {
	return ask(ctx, envd, at, nil, func(ctx context.Context) (net.Conn, error) {
		conn, err := netns.DialTCP(ctx, ns, envd)
		if err != nil {
			return nil, err // without it a nil *TCPConn would be no nil Conn
		}
		return conn, nil
	})
}

// Through asks the proxy once for a path, with the headers by which clients name a sandbox and
// the port of its envd.
func Through(ctx context.Context, proxy netip.AddrPort, sandboxID string, port uint16, at string) path.Health {
	header := http.Header{e2b.HeaderSandboxID: {sandboxID}, e2b.HeaderSandboxPort: {strconv.Itoa(int(port))}}
	return ask(ctx, proxy, at, header, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", proxy.String())
	})
}

func ask(ctx context.Context, to netip.AddrPort, at string, header http.Header, dial func(context.Context) (net.Conn, error)) path.Health {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	var connected atomic.Bool // the transport dials in a goroutine, which may outlive the request
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // a socket less that would keep the namespace
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dial(ctx)
			connected.Store(err == nil)
			return conn, err
		},
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	h := path.Health{Time: time.Now()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+to.String()+at, nil)
	if err != nil {
		h.Error = err.Error()
		return h
	}
	if header != nil {
		req.Header = header
	}
	resp, err := client.Do(req)
	h.Took, h.Connected = time.Since(h.Time), connected.Load()
	if err != nil {
		h.Error, h.TimedOut = words(err)
		h.Refused, h.Unreachable = errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EHOSTUNREACH)
		return h
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 1<<10) // a connection that is closed politely is no reset
	h.Code = resp.StatusCode
	return h
}

func words(err error) (text string, timedOut bool) {
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		return fmt.Sprintf("no answer in %v", Patience), true
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error(), false
}

// Once asks once for a path, in the caller's own namespace, as cheaply as can be: of the
// answer it reads no more than the status.
func Once(ctx context.Context, to netip.AddrPort, at string) path.Health {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	h := path.Health{Time: time.Now()}
	failed := func(err error) path.Health {
		h.Took = time.Since(h.Time)
		h.Error, h.TimedOut = words(err)
		h.Refused, h.Unreachable = errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EHOSTUNREACH)
		return h
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return failed(err)
	}
	defer conn.Close()
	h.Connected = true
	defer context.AfterFunc(ctx, func() { conn.Close() })() // whoever asked may give up earlier
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return failed(err)
		}
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", at, to); err != nil {
		return failed(err)
	}
	var b [512]byte
	n, err := conn.Read(b[:])
	if err != nil {
		return failed(err)
	}
	if _, err := fmt.Sscanf(string(b[:n]), "HTTP/1.1 %d", &h.Code); err != nil {
		return failed(errors.New("the answer is no HTTP"))
	}
	h.Took = time.Since(h.Time)
	return h
}
