package sandbox

import (
	"context"
	"fmt"

	"tapwatch/internal/e2b"
	"tapwatch/internal/sandbox/network"
)

// Lend gives a slot that no sandbox of ours is in, for drills. release removes it.
func (m *Manager) Lend(ctx context.Context) (slot network.Slot, release func() error, err error) {
	slot, err = m.pool.Acquire(ctx)
	if err != nil {
		return network.Slot{}, nil, fmt.Errorf("lend a slot: %w", err)
	}
	return slot, func() error { return m.pool.Release(slot) }, nil
}

// StopRelay takes a sandbox's relay away, as when its process dies: nobody
// listens for envd's port in the namespace, and open connections are cut. It is
// for drills. restart brings it back.
func (m *Manager) StopRelay(id string) (restart func() error, err error) {
	i, err := m.only(id)
	if err != nil {
		return nil, fmt.Errorf("stop relay: %w", err)
	}
	m.mu.Lock()
	route := i.routes[e2b.EnvdPort] // stays listed, or the next request would open it again
	m.mu.Unlock()
	if route == nil {
		return nil, fmt.Errorf("stop relay: sandbox %s has none", id)
	}
	if err := route.Close(); err != nil {
		return nil, fmt.Errorf("stop relay of %s: %w", id, err)
	}
	return func() error {
		m.mu.Lock()
		if i.routes[e2b.EnvdPort] == route {
			delete(i.routes, e2b.EnvdPort)
		}
		m.mu.Unlock()
		if _, err := m.listen(i, e2b.EnvdPort); err != nil {
			return fmt.Errorf("start relay of %s: %w", id, err)
		}
		return nil
	}, nil
}
