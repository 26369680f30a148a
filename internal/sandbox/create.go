package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/vmm"
	"tapwatch/internal/sandbox/vmm/qemu"
)

// Create launches a sandbox and returns when its envd answers. Where it does
// not come up, the error says how far it came; nothing of it remains then,
// unless Keep was asked for: then the sandbox, Failed, is returned beside the
// error. The error wraps template.ErrNotFound or template.ErrDamaged where the
// template is at fault, and a *BusyError where there is no room. While others boot it
// waits for its turn. It lives on when ctx ends later.
func (m *Manager) Create(ctx context.Context, req CreateRequest) (Sandbox, error) {
	if req.Timeout < 0 {
		return Sandbox{}, fmt.Errorf("create sandbox: timeout %v is below 0", req.Timeout)
	}
	if req.BootTimeout < 0 {
		return Sandbox{}, fmt.Errorf("create sandbox: boot timeout %v is below 0", req.BootTimeout)
	}
	setDefault(&req.Timeout, DefaultTimeout)
	setDefault(&req.Path, m.cfg.Path)
	if err := req.Path.Validate(); err != nil {
		return Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	t, err := m.store.Find(req.Template)
	if err != nil {
		return Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	leave, err := m.room.take(req.Owner, m.cfg.MemoryMiB)
	if err != nil {
		return Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	done, err := m.boots.enter(ctx, func(before int) {
		m.cfg.Log.Info("a sandbox waits for its turn to boot", "name", req.Name, "template", req.Template, "before", before)
	})
	if err != nil {
		leave()
		return Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	defer done()
	i, err := m.newInstance(ctx, req, t, leave)
	if err != nil {
		leave()
		return Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	err = m.start(i, req, t)
	if err == nil {
		go func() { // a guest that only waits keeps nobody from booting
			untilIdle(i.machine.PID(), i.booted)
			done()
		}()
		err = m.awaitEnvd(i, req)
	}
	return m.settle(i, req, err)
}

// start brings up everything but the guest itself.
func (m *Manager) start(i *instance, req CreateRequest, t template.Template) error {
	if err := m.change(i, func(*Sandbox) {}); err != nil { // recorded before there is anything to be found
		return err
	}
	if err := m.openPath(i); err != nil {
		return err
	}
	spec := m.spec(i, req, t)
	if req.Alter != nil {
		if err := req.Alter(&spec); err != nil {
			return err
		}
	}
	machine, err := qemu.Start(i.boot, spec, qemu.Options{Accel: m.cfg.Accel, RunDir: m.cfg.DataDir})
	if err != nil {
		return err
	}
	m.mu.Lock()
	i.machine = machine
	m.mu.Unlock()
	return m.change(i, func(s *Sandbox) { s.VMM = machine.Process })
}

func (m *Manager) spec(i *instance, req CreateRequest, t template.Template) vmm.Spec {
	spec := vmm.Spec{
		SandboxID: i.id, Netns: i.slot.Netns(),
		Kernel: t.Kernel, Initrd: t.Initrd, Rootfs: t.Rootfs, Cmdline: i.slot.BootArgs(),
		VCPUs: m.cfg.VCPUs, MemoryMiB: m.cfg.MemoryMiB, Console: m.console(i.id),
		NIC: &vmm.NIC{Tap: i.slot.Tap(), MAC: i.slot.GuestMAC()},
	}
	if req.NoNIC {
		spec.NIC = nil
	}
	return spec
}

// settle ends Create's part: the sandbox runs, is kept as Failed, or goes.
func (m *Manager) settle(i *instance, req CreateRequest, err error) (Sandbox, error) {
	gaveUp := i.boot.Err() != nil // the caller, or a kill
	if err == nil || req.Keep && !gaveUp {
		if cerr := m.change(i, func(s *Sandbox) {
			s.State = registry.Running
			if err != nil {
				s.State, s.Reason = registry.Failed, err.Error()
			}
			if i.timer == nil { // else SetTimeout was quicker
				m.endAfter(i, req.Timeout)
			}
		}); cerr != nil {
			err, req.Keep = errors.Join(err, cerr), false
		}
	}
	close(i.booted)
	s, gerr := m.Get(i.id)
	if err == nil && gerr == nil {
		m.cfg.Log.Info("sandbox runs", "sandbox_id", s.ID, "netns", s.Slot.Netns(), "took", time.Since(s.CreatedAt).Round(time.Millisecond))
		go m.watch(i)
		return s, nil
	}
	if err == nil {
		err = ErrKilled // between the two lines above
	}
	err = fmt.Errorf("create sandbox %s: %w", i.id, err)
	m.cfg.Log.Warn("sandbox did not come up", "sandbox_id", i.id, "kept", req.Keep && !gaveUp, "err", err)
	if req.Keep && !gaveUp && gerr == nil {
		go m.watch(i)
		return s, err
	}
	m.remove(i)
	<-i.gone
	return Sandbox{}, errors.Join(err, i.err)
}

// watch marks a sandbox whose VMM exits as Failed. It keeps its slot, for a
// diagnosis, until it is killed or its timeout has passed.
func (m *Manager) watch(i *instance) {
	if i.machine == nil { // it was never started, and the sandbox kept
		return
	}
	<-i.machine.Done()
	why := i.machine.Err()
	err := m.change(i, func(s *Sandbox) {
		if s.State == registry.Failed {
			s.Reason += "; then: " + why.Error()
			return
		}
		s.State, s.Reason = registry.Failed, why.Error()
	})
	if err == nil { // else it was killed by us
		m.cfg.Log.Warn("VMM exited", "sandbox_id", i.id, "err", why)
	}
}
