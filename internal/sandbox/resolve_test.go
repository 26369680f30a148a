package sandbox

import (
	"context"
	"errors"
	"testing"
	"time"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/proxy"
)

// booting puts a sandbox into the manager that only boots, until its booted is
// closed. It is taken out again before the manager closes.
func booting(t *testing.T, m *Manager) *instance {
	t.Helper()
	i := &instance{id: newID(), path: registry.Fused, booted: make(chan struct{}), boot: context.Background()}
	m.mu.Lock()
	m.byID[i.id] = i
	m.mu.Unlock()
	t.Cleanup(func() { takeOut(m, i) })
	return i
}

func takeOut(m *Manager, i *instance) {
	m.mu.Lock()
	delete(m.byID, i.id)
	m.mu.Unlock()
}

func TestRequestsWaitForABoot(t *testing.T) {
	m := newManager(t, Config{WaitBooting: time.Hour})
	resolve := func(ctx context.Context, i *instance) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := m.Resolve(ctx, i.id, 80)
			done <- err
		}()
		return done
	}
	t.Run("until it is up", func(t *testing.T) {
		i := booting(t, m)
		done := resolve(t.Context(), i)
		select {
		case err := <-done:
			t.Error("did not wait:", err)
		case <-time.After(20 * time.Millisecond): // can only miss a fault, never find one that is not there
		}
		close(i.booted)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("until it is removed", func(t *testing.T) {
		i := booting(t, m)
		done := resolve(t.Context(), i)
		takeOut(m, i)
		close(i.booted)
		if err := <-done; !errors.Is(err, proxy.ErrUnknownSandbox) {
			t.Error(err)
		}
	})
	t.Run("until the client leaves", func(t *testing.T) {
		i := booting(t, m)
		ctx, leave := context.WithCancel(t.Context())
		done := resolve(ctx, i)
		leave()
		if err := <-done; err != nil { // what is at the port is the dial's to tell
			t.Error(err)
		}
	})
	t.Run("until patience is over", func(t *testing.T) {
		short := newManager(t, Config{WaitBooting: time.Millisecond})
		if _, err := short.Resolve(t.Context(), booting(t, short).id, 80); err != nil {
			t.Error(err)
		}
	})
}
