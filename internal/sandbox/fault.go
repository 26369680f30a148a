package sandbox

import (
	"fmt"

	"tapwatch/internal/sandbox/envd/guest"
)

// StopRelay takes a sandbox's layer 2 away, as when its process dies: nobody
// listens for envd's port in the namespace, and open connections are cut. It is
// for drills. restart brings it back.
func (m *Manager) StopRelay(id string) (restart func() error, err error) {
	i, err := m.only(id)
	if err != nil {
		return nil, fmt.Errorf("stop relay: %w", err)
	}
	m.mu.Lock()
	route := i.routes[guest.Port] // stays listed, or the next request would open it again
	m.mu.Unlock()
	if route == nil {
		return nil, fmt.Errorf("stop relay: sandbox %s has none", id)
	}
	if err := route.Close(); err != nil {
		return nil, fmt.Errorf("stop relay of %s: %w", id, err)
	}
	return func() error {
		m.mu.Lock()
		if i.routes[guest.Port] == route {
			delete(i.routes, guest.Port)
		}
		m.mu.Unlock()
		if _, err := m.listen(i, guest.Port); err != nil {
			return fmt.Errorf("start relay of %s: %w", id, err)
		}
		return nil
	}, nil
}
