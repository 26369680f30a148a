// Package firecracker asks a Firecracker, by its API socket, what it does and
// what it was told. It asks by GET alone, which changes nothing in it.
package firecracker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
)

// Patience is how long the two questions may take together. Firecracker answers
// within a millisecond, but for seconds not at all while it writes a snapshot.
const Patience = time.Second

const (
	maxHeader = 16 << 10
	maxBody   = 256 << 10
)

// Ask asks the Firecracker with that pid, whose socket is at that path as it sees
// it. It returns what came of it, never an error: that is what is asked for.
func Ask(ctx context.Context, pid int, socket string) *path.VMMAPI {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	api := &path.VMMAPI{Time: time.Now(), Socket: socket}
	transport := &http.Transport{
		DialContext:            dialer(pid, socket),
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		MaxConnsPerHost:        1, // it serves ten in all
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	err := ask(ctx, client, api)
	if err == nil {
		api.Answered = false // and all of it is known
	} else {
		api.Interfaces = nil // the state may be known: who writes a snapshot answers no more
		api.Error = words(ctx, err)
		api.Answered = api.Answered && ctx.Err() == nil // else it began to, and hangs
		api.Gone = errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, os.ErrNotExist)
	}
	return api
}

func ask(ctx context.Context, client *http.Client, api *path.VMMAPI) error {
	b, err := get(ctx, client, "/", api)
	if err != nil {
		return err
	}
	if api.State, err = parseInstance(b); err != nil {
		return fmt.Errorf("GET /: %w", err)
	}
	if b, err = get(ctx, client, "/vm/config", api); err != nil {
		return err
	}
	if api.Interfaces, err = parseConfig(b); err != nil {
		return fmt.Errorf("GET /vm/config: %w", err)
	}
	return nil
}

func get(ctx context.Context, client *http.Client, what string, api *path.VMMAPI) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://firecracker"+what, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	api.Answered = true
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("GET %s: %w", what, err)
	case len(b) > maxBody:
		return nil, fmt.Errorf("GET %s: an answer of more than %d bytes", what, maxBody)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("GET %s: status %d", what, resp.StatusCode)
	case !json.Valid(b):
		return nil, fmt.Errorf("GET %s: no JSON", what)
	}
	return b, nil
}

// words is an error's last cause: what is around it names our own URL.
func words(ctx context.Context, err error) string {
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Sprintf("no answer in %v", Patience)
	}
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return "nobody listens at the socket"
	case errors.Is(err, os.ErrNotExist):
		return "the socket is not there"
	}
	for inner := errors.Unwrap(err); inner != nil && !errors.Is(err, errNotFirecracker); inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}
