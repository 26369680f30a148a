package sandbox

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/envd/guest"
	"tapwatch/internal/sandbox/network"
	"tapwatch/internal/sandbox/relay"
	"tapwatch/internal/sandbox/stream"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/vmm"
)

// instance is a sandbox with what belongs to it.
type instance struct {
	id       string
	slot     network.Slot
	path     registry.Shape
	internet bool            // whether the guest may reach public addresses, where its path has a way out
	token    string          // empty unless envd is to want one
	boot     context.Context // of the work that Create does; ends with ErrKilled at a kill
	cancel   context.CancelCauseFunc
	leave    func()        // gives its part of the room back
	booted   chan struct{} // closed when Create is through with it
	gone     chan struct{} // closed when nothing of it remains
	err      error         // why something does remain; set before gone is closed

	// Guarded by Manager.mu:
	snap     Sandbox
	machine  *vmm.Machine
	routes   map[int]*relay.Route // by port of the guest
	quota    *stream.Quota        // of the relay's connections
	timer    *time.Timer          // of EndAt; nil until it runs or has failed
	removing bool
}

// newInstance takes a slot for a sandbox and lists it as booting.
func (m *Manager) newInstance(ctx context.Context, req CreateRequest, t template.Template, leave func()) (*instance, error) {
	slot, err := m.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	id, now := newID(), time.Now()
	s := Sandbox{
		ID: id, TemplateID: t.ID, BuildID: t.BuildID, TemplateDir: absolute(t.Dir), Name: req.Name,
		State: registry.Booting, CreatedAt: now, EndAt: now.Add(req.Timeout), Slot: slot, Path: req.Path,
		Console: m.console(id),
		VCPUs:   m.cfg.VCPUs, MemoryMiB: m.cfg.MemoryMiB, Metadata: maps.Clone(req.Metadata),
	}
	if len(t.Aliases) > 0 {
		s.Alias = t.Aliases[0]
	}
	if t.Variant != "" { // ours, with our daemon
		s.EnvdVersion = guest.Version
	}
	if req.Secure {
		s.AccessToken = newToken()
	}
	i := &instance{
		id: id, slot: slot, path: req.Path, internet: !req.NoInternet, token: s.AccessToken, snap: s, routes: make(map[int]*relay.Route), leave: leave, quota: stream.NewQuota(maxConnections(), connectRate),
		booted: make(chan struct{}), gone: make(chan struct{}),
	}
	i.boot, i.cancel = context.WithCancelCause(ctx)
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		i.cancel(ErrClosed)
		return nil, ErrClosed // and the pool, which is being closed, removes the slot
	}
	m.live.Add(1) // until remove is through
	m.byID[id] = i
	m.mu.Unlock()
	return i, nil
}

// absolute is a path that others can use; as it is where that is not known.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// change edits the snapshot and records it, unless the sandbox is being removed.
func (m *Manager) change(i *instance, edit func(*Sandbox)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i.removing {
		return ErrKilled
	}
	edit(&i.snap)
	return m.pool.Bind(i.slot, i.snap.record())
}

// Kill removes a sandbox and returns when nothing of it remains, or earlier
// with ctx. It wraps ErrNotFound for an id that no sandbox has, also for one
// that is being removed already.
func (m *Manager) Kill(ctx context.Context, id string) error {
	m.mu.Lock()
	i, ok := m.byID[id]
	m.mu.Unlock()
	if !ok || !m.remove(i) {
		return fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	select {
	case <-i.gone:
		return i.err
	case <-ctx.Done():
		return fmt.Errorf("kill sandbox %s: %w", id, ctx.Err())
	}
}

// remove begins the end of a sandbox; false says that it had begun already.
func (m *Manager) remove(i *instance) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i.removing {
		return false
	}
	i.removing = true
	delete(m.byID, i.id)
	if i.timer != nil {
		i.timer.Stop()
	}
	i.cancel(ErrKilled)
	// Agents are told before anything of it goes.
	i.snap.State = registry.Ending
	if err := m.pool.Bind(i.slot, i.snap.record()); err != nil {
		m.cfg.Log.Warn("agents may see this sandbox break as it goes", "sandbox_id", i.id, "err", err)
	}
	go m.dismantle(i)
	return true
}

// dismantle takes everything down from the front: no request comes in, the VMM
// goes, then what it stood on. The record goes last, with the slot.
func (m *Manager) dismantle(i *instance) {
	defer m.live.Done()
	defer close(i.gone)
	defer i.leave()
	<-i.booted // else Create would still be adding to it
	m.mu.Lock()
	proxies, routes, machine, console := m.proxies, i.routes, i.machine, m.console(i.id)
	i.routes = nil
	m.mu.Unlock()
	for _, r := range routes {
		_ = r.Close() // of a listener: it is closed whatever that says
	}
	for _, p := range proxies {
		p.Forget(i.id)
	}
	if machine != nil {
		if i.err = machine.Kill(); i.err != nil {
			m.cfg.Log.Error("cannot kill the VMM", "sandbox_id", i.id, "err", i.err)
			return // the record stays, so that cleanup finds it
		}
	}
	if err := os.Remove(console); err != nil && !os.IsNotExist(err) {
		m.cfg.Log.Warn("console log stays", "sandbox_id", i.id, "err", err)
	}
	if i.err = m.pool.Release(i.slot); i.err != nil {
		m.cfg.Log.Error("cannot remove the slot", "sandbox_id", i.id, "netns", i.slot.Netns(), "err", i.err)
		return
	}
	m.cfg.Log.Info("sandbox removed", "sandbox_id", i.id, "netns", i.slot.Netns())
}

// SetTimeout has the sandbox killed that long from now.
func (m *Manager) SetTimeout(id string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("timeout %v is below 0", d)
	}
	m.mu.Lock()
	i, ok := m.byID[id]
	m.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return m.change(i, func(s *Sandbox) { m.endAfter(i, d) })
}

// endAfter sets the end of a sandbox; Manager.mu is held.
func (m *Manager) endAfter(i *instance, d time.Duration) {
	i.snap.EndAt = time.Now().Add(d)
	if i.timer != nil {
		i.timer.Stop()
	}
	i.timer = time.AfterFunc(d, func() {
		if m.remove(i) {
			m.cfg.Log.Info("sandbox has reached its timeout", "sandbox_id", i.id)
		}
	})
}
