package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/envd"
)

const (
	// healthEvery is the pause between two questions for envd that are refused at
	// once; one to a silent guest waits for the kernel's EHOSTUNREACH, and is
	// answered as soon as the guest shows its address.
	healthEvery = 20 * time.Millisecond
	healthTime  = 5 * time.Second // of one question: a connection that nobody answers
)

var errNoEnvd = errors.New("envd did not answer")

// awaitEnvd waits until envd answers on the sandbox's path, and tells it what the
// sandbox is to be. The error says how far the sandbox came.
func (m *Manager) awaitEnvd(i *instance, req CreateRequest) error {
	addr := i.addr(e2b.EnvdPort)
	transport := &http.Transport{DialContext: i.dial}
	defer transport.CloseIdleConnections()
	client := &envd.Client{BaseURL: "http://" + addr.String(), HTTP: &http.Client{Transport: transport}}
	patience := cmp.Or(req.BootTimeout, m.cfg.BootTimeout)
	ctx, cancel := context.WithTimeoutCause(i.boot, patience, fmt.Errorf("%w within %v", errNoEnvd, patience))
	defer cancel()
	ctx, exited := context.WithCancelCause(ctx)
	defer exited(nil)
	go func() {
		select {
		case <-i.machine.Done():
			exited(fmt.Errorf("%w: %w", errNoEnvd, i.machine.Err()))
		case <-ctx.Done():
		}
	}()
	last := untilHealthy(ctx, client)
	if last == nil {
		last = client.Init(ctx, envd.InitRequest{EnvVars: req.EnvVars, AccessToken: i.token, Timestamp: time.Now()})
	}
	if last == nil {
		return nil
	}
	return m.bootError(ctx, i, last)
}

// untilHealthy asks until envd answers, or returns the last answer when ctx ends.
func untilHealthy(ctx context.Context, c *envd.Client) error {
	for {
		one, cancel := context.WithTimeout(ctx, healthTime)
		err := c.Health(one)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(healthEvery):
		}
	}
}

// bootError puts together what is known of a boot that failed: why it was given
// up, what the relay last met, and the guest's last words.
func (m *Manager) bootError(ctx context.Context, i *instance, last error) error {
	why := context.Cause(ctx)
	if i.boot.Err() != nil {
		return why // nobody asked what was wrong
	}
	var answer *envd.StatusError
	if why == nil {
		why = last // envd answered, but not as it should
	} else if errors.As(last, &answer) {
		why = fmt.Errorf("%w; its last answer: %w", why, answer)
	}
	m.mu.Lock()
	route := i.routes[e2b.EnvdPort]
	m.mu.Unlock()
	var dial *net.OpError
	if i.path != registry.Relay && errors.As(last, &dial) {
		why = fmt.Errorf("%w; the guest could not be reached: %w", why, dial.Err)
	} else if route != nil && route.LastDialError() != nil {
		why = fmt.Errorf("%w; the relay could not reach the guest: %w", why, route.LastDialError())
	}
	if words := lastLines(m.console(i.id), 3); words != "" {
		return fmt.Errorf("%w; the console ends with: %s", why, words)
	}
	return fmt.Errorf("%w; the console is empty", why)
}
