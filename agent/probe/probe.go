// Package probe puts the programs of package bpf into the kernel, attaches them
// to taps, reads what they counted, and takes away what is its own. It never
// touches another's qdisc or filter.
package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// Ifindex is the index of a device, unique only within its namespace.
type Ifindex uint32

// Device names a device for good: the namespace by its cookie.
type Device struct {
	Netns   netns.Cookie
	Ifindex Ifindex
}

func (d Device) key() bpf.TapKey {
	return bpf.TapKey{Netns: uint64(d.Netns), Ifindex: uint32(d.Ifindex)}
}

// Config is what the programs need to know; the zero value works.
type Config struct {
	EnvdPort uint16 // TCP port of the guest daemon; 0 means 49983
	// HooksDir is where a note is kept of each clsact qdisc that we made, for
	// Cleanup after a kill; empty means DefaultHooksDir.
	HooksDir string
}

// DefaultHooksDir is used where Config names none.
const DefaultHooksDir = "/run/tapwatch/hooks"

// Probe is the loaded programs. Its methods are safe for concurrent use.
type Probe struct {
	tap     bpf.TapObjects
	holders *holderIterator // nil: not supported here, see Capabilities
	// Like holders, nil where it is not supported.
	listeners *listenerIterator
	hooks     hooks
	features  []Capability
}

// Capability is one thing that this kernel and these privileges allow or not.
type Capability struct {
	Name string // stable, a metric label
	Have bool
	Why  string // what is missing, where Have is false
}

// Load loads the programs once for all devices. What the kernel cannot do is
// left out and said in Capabilities; the error is for what nothing works without.
func Load(cfg Config) (*Probe, error) {
	if cfg.EnvdPort == 0 {
		cfg.EnvdPort = 49983
	}
	// Kernels before 5.11 account maps to RLIMIT_MEMLOCK; newer ones need nothing.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memlock limit: %w", err)
	}
	p := &Probe{hooks: newHooks(cfg.HooksDir)}
	if err := p.loadTap(cfg); err != nil {
		return nil, err
	}
	holders, err := loadHolders()
	p.note("holder_iterator", err)
	p.holders = holders
	listeners, err := loadListeners()
	p.note("listener_iterator", err)
	p.listeners = listeners
	return p, nil
}

func (p *Probe) loadTap(cfg Config) error {
	spec, err := bpf.LoadTap()
	if err != nil {
		return fmt.Errorf("read tap programs: %w", err)
	}
	var vars bpf.TapVariableSpecs
	if err := spec.Assign(&vars); err != nil {
		return fmt.Errorf("read tap programs: %w", err)
	}
	if err := vars.EnvdPort.Set(cfg.EnvdPort); err != nil {
		return fmt.Errorf("configure tap programs: %w", err)
	}
	if err := spec.LoadAndAssign(&p.tap, nil); err != nil {
		return fmt.Errorf("load tap programs: %w", explain(err))
	}
	return nil
}

// explain says which privilege or kernel feature a refused load lacks.
func explain(err error) error {
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w: needs Linux 5.15 or newer with BTF", err)
	case errors.Is(err, btf.ErrNotFound):
		return fmt.Errorf("%w: the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)", err)
	case isPermission(err):
		return fmt.Errorf("%w: needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN", err)
	}
	return err
}

func (p *Probe) note(name string, err error) {
	c := Capability{Name: name, Have: err == nil}
	if err != nil {
		c.Why = err.Error()
	}
	p.features = append(p.features, c)
}

// Capabilities says what was found at load.
func (p *Probe) Capabilities() []Capability { return p.features }

// Close unloads the programs. What is still attached stays attached and counts
// on, as after a kill; Detach or DetachAll first for a clean stop.
func (p *Probe) Close() error {
	return errors.Join(p.tap.Close(), p.holders.Close(), p.listeners.Close())
}
