// Package probe puts the programs of package bpf into the kernel, attaches them
// to taps, reads what they counted, and takes away what is its own. It never
// touches another's qdisc or filter.
package probe

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"tapwatch/bpf"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
)

// keyOf is how the programs name a device.
func keyOf(d netns.Device) bpf.TapKey {
	return bpf.TapKey{Netns: uint64(d.Netns), Ifindex: uint32(d.Ifindex)}
}

// Config is what the programs need to know; the zero value works.
type Config struct {
	EnvdPort uint16 // TCP port of the guest daemon; 0 means e2b.EnvdPort
	// HooksDir is where a note is kept of each clsact qdisc that we made, for
	// Cleanup after a kill; empty means DefaultHooksDir.
	HooksDir string
	Mode     Mode // how to see frames; empty means ModeAuto
	// Look says that nothing will be attached: the hooks of HooksDir stay those of
	// its agent, whether that lives or not.
	Look bool
}

// DefaultHooksDir is used where Config names none.
const DefaultHooksDir = "/run/tapwatch/hooks"

// Probe is the loaded programs. Its methods are safe for concurrent use.
type Probe struct {
	tap       *tapObjects
	losses    *losses // nil: not supported here, see Capabilities
	hooks     hooks
	alive     *ebpf.Map // proves that this agent lives; nil where nothing outlives it
	features  []Capability
	mode      Mode   // of every device, but where it cannot stand
	fallbacks []Mode // what to try there
	cpus      int
	stats     stats

	mu        sync.Mutex
	mayDisown bool // the owner is new, or has attached something: else hooks of the last agent may stand
	devices   map[netns.Device]*attached
	programs  map[ebpf.ProgramID]bool // of filters that were there: whether they count in our maps
	global    []link.Link             // of ModeTracepoint
}

// Capability is one thing that this kernel and these privileges allow or not.
type Capability struct {
	Name string // stable, a metric label
	Have bool
	Why  string // what is missing, where Have is false
}

// Load loads the programs once for all devices. What the kernel cannot do is
// left out and said in Capabilities; the error is for what nothing works without.
func Load(cfg Config) (_ *Probe, err error) {
	if cfg.EnvdPort == 0 {
		cfg.EnvdPort = e2b.EnvdPort
	}
	if cfg.Mode == "" {
		cfg.Mode = ModeAuto
	}
	if err := cfg.Mode.validate(); err != nil {
		return nil, err
	}
	// Kernels before 5.11 account maps to RLIMIT_MEMLOCK; newer ones need nothing.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memlock limit: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	p := &Probe{hooks: newHooks(cfg.HooksDir), cpus: cpus, devices: map[netns.Device]*attached{}, programs: map[ebpf.ProgramID]bool{}}
	lack := p.probeModes()
	if err := p.chooseMode(cfg.Mode, lack); err != nil {
		return nil, err
	}
	outlives := lack[ModeTC] == nil && !cfg.Look
	if err := p.claimHooks(outlives); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if p.tap, err = loadTap(cfg, p.hooks.owner, outlives, lackingPrograms(lack)); err != nil {
		return nil, err
	}
	p.losses = p.loadLosses(cfg.EnvdPort)
	return p, nil
}

func (p *Probe) note(name string, err error) {
	c := Capability{Name: name, Have: err == nil}
	if err != nil {
		c.Why = err.Error()
	}
	p.features = append(p.features, c)
}

// claimHooks settles whose hooks ours are. Only filters outlive an agent: without
// them nobody need know whether it lives.
func (p *Probe) claimHooks(outlives bool) (err error) {
	if !outlives {
		return nil
	}
	var why error
	before := p.hooks.owner
	if p.hooks.owner, p.alive, why, err = claim(p.hooks.dir); err != nil {
		return err
	}
	p.mayDisown = p.hooks.owner != before
	p.note("hook_owner", why)
	return nil
}

// releaseHooks is the end of this process's claim. The directory remembers the
// owner as long as hooks may be left for the next agent.
func (p *Probe) releaseHooks() (err error) {
	if p.alive == nil {
		return nil
	}
	p.mu.Lock()
	disowns := len(p.devices) == 0 && p.mayDisown
	p.mu.Unlock()
	if disowns {
		err = disown(p.hooks.dir)
	}
	err = errors.Join(err, p.alive.Close())
	p.alive = nil
	return err
}

// Capabilities says what was found at load.
func (p *Probe) Capabilities() []Capability { return p.features }

// Close unloads the programs. Filters that still stand stay and count on, as
// after a kill; Detach first for a clean stop.
func (p *Probe) Close() error {
	p.mu.Lock()
	links := p.global
	for _, d := range p.devices {
		links = append(links, d.links...)
	}
	p.mu.Unlock()
	return errors.Join(closeLinks(links), p.releaseHooks(), p.tap.Close(), p.losses.Close())
}
