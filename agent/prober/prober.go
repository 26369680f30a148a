// Package prober asks envd for its health, straight at the guest's address from
// inside the slot's namespace: what is in front of the tap takes no part in it.
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
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Patience is how long envd may take to answer, the connection's time included.
// Twenty emulated guests on two busy CPUs took more than two seconds.
const Patience = 5 * time.Second

// Health asks once. It returns what came of it, never an error: that is what is
// asked for.
func Health(ctx context.Context, ns string, envd netip.AddrPort) path.Health {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	h := path.Health{Time: time.Now()}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // a socket less that would keep the namespace
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := netns.DialTCP(ctx, ns, envd)
			h.Connected = err == nil
			if err != nil {
				return nil, err // without it a nil *TCPConn would be no nil Conn
			}
			return conn, nil
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+envd.String()+"/health", nil)
	if err != nil {
		h.Error = err.Error()
		return h
	}
	resp, err := client.Do(req)
	h.Took = time.Since(h.Time)
	if err != nil {
		h.Error = words(err)
		h.Refused, h.Unreachable = errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EHOSTUNREACH)
		return h
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 1<<10) // a connection that is closed politely is no reset
	h.Code = resp.StatusCode
	return h
}

func words(err error) string {
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		return fmt.Sprintf("no answer in %v", Patience)
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}
