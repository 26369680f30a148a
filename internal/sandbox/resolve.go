package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"tapwatch/internal/e2b"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/proxy"
	"tapwatch/internal/sandbox/relay"
	"tapwatch/internal/sandbox/stream"
)

// maxPorts bounds the listeners that requests may open for one sandbox.
const maxPorts = 64

var errTooManyPorts = fmt.Errorf("the sandbox has connections on %d ports already", maxPorts)

// Resolve finds where a port of a sandbox is reached, and has the relay listen
// there where there is one; it is a proxy.Resolver. An empty id means the only
// sandbox. For one that is booting it waits, as long as Config.WaitBooting says;
// what is met at its port after that is the answer.
func (m *Manager) Resolve(ctx context.Context, id string, port int) (proxy.Target, error) {
	i, err := m.only(id)
	if err != nil {
		return proxy.Target{}, err
	}
	m.awaitBoot(ctx, i)
	if i, err = m.only(i.id); err != nil { // it went meanwhile, its slot may be another's
		return proxy.Target{}, err
	}
	target := proxy.Target{SandboxID: i.id, Addr: i.addr(port), Direct: i.path != registry.Relay, Why: func() error { return m.why(i, nil) }}
	select {
	case <-i.booted:
		target.Keep = true
	default: // the next request is to wait too
	}
	switch i.path {
	case registry.Fused:
		target.Netns = i.slot.Netns()
	case registry.Relay:
		route, err := m.listen(i, port)
		if errors.Is(err, ErrKilled) {
			return proxy.Target{}, proxy.ErrUnknownSandbox
		}
		if err != nil {
			return proxy.Target{}, err
		}
		target.Why = func() error { return m.why(i, route) }
	}
	return target, nil
}

// awaitBoot waits until a sandbox is up, failed or removed, or patience is over.
func (m *Manager) awaitBoot(ctx context.Context, i *instance) {
	select {
	case <-i.booted:
		return
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.WaitBooting)
	defer cancel()
	select {
	case <-i.booted:
	case <-i.boot.Done(): // killed
	case <-ctx.Done():
	}
}

func (m *Manager) only(id string) (*instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, ok := m.byID[id]; ok {
		return i, nil
	}
	if id != "" || len(m.byID) == 0 {
		return nil, proxy.ErrUnknownSandbox
	}
	if len(m.byID) > 1 {
		return nil, proxy.ErrAmbiguous
	}
	for _, i := range m.byID {
		return i, nil
	}
	return nil, proxy.ErrUnknownSandbox
}

// why tells what is known to be wrong with a sandbox, nil where nothing is. Only
// a sandbox behind a relay has a route.
func (m *Manager) why(i *instance, route *relay.Route) error {
	m.mu.Lock()
	reason := i.snap.Reason
	m.mu.Unlock()
	var err error
	if route != nil {
		err = route.LastDialError()
	}
	if reason == "" {
		return err
	}
	if err == nil {
		return errors.New(reason)
	}
	return fmt.Errorf("%w; the sandbox has failed: %s", err, reason)
}

// listen returns the relay's route for a port of the guest, the same port of
// the vpeer, and opens it where it is not yet open.
func (m *Manager) listen(i *instance, port int) (*relay.Route, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i.removing {
		return nil, ErrKilled
	}
	if r, ok := i.routes[port]; ok {
		return r, nil
	}
	if len(i.routes) >= maxPorts && !m.closeUnused(i) {
		return nil, errTooManyPorts
	}
	listen := netip.AddrPortFrom(i.slot.VpeerIP(), uint16(port))
	r, err := m.relay.OpenLimited(stream.ListenConfig{Netns: i.slot.Netns(), Addr: listen}, netip.AddrPortFrom(i.slot.GuestIP(), uint16(port)), i.quota)
	if err != nil {
		return nil, err
	}
	i.routes[port] = r
	return r, nil
}

// closeUnused closes some route that has no connection, but never envd's; mu is
// held.
func (m *Manager) closeUnused(i *instance) bool {
	for port, r := range i.routes {
		if port != e2b.EnvdPort && r.Stats().Open == 0 {
			for _, p := range m.proxies {
				p.ForgetPort(i.id, port)
			}
			_ = r.Close() // of a listener: it is closed whatever that says
			delete(i.routes, port)
			return true
		}
	}
	return false
}
