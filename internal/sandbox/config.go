package sandbox

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/vmm/qemu"
)

// What a zero Config means.
const (
	DefaultBootTimeout = 30 * time.Second
	DefaultWaitBooting = 10 * time.Second
	DefaultTimeout     = 5 * time.Minute // of a sandbox's life, as E2B's SDK has it
	DefaultVCPUs       = 1
	DefaultMemoryMiB   = 256
	DefaultBootQueue   = 64
)

// Config says where a manager keeps things and what its sandboxes get. The zero
// value works.
type Config struct {
	DataDir string // of templates and kernels; "" means template.DefaultDir
	RunDir  string // of the registry and the consoles; "" means registry.DefaultDir

	Path      registry.Shape // of sandboxes that do not ask for another; "" means registry.Relay
	PoolSize  int            // slots kept ready; 0 means that each is made when asked for
	FirstSlot int            // lowest slot index to use; 0 means 1

	WaitBooting time.Duration // that a request for a booting sandbox waits; 0 means DefaultWaitBooting
	BootTimeout time.Duration // from the VMM's start to envd's answer; 0 means DefaultBootTimeout
	VCPUs       int           // of each sandbox; 0 means DefaultVCPUs
	MemoryMiB   int           // of each sandbox; 0 means DefaultMemoryMiB
	Accel       qemu.Accel    // "" means qemu.Auto

	Boots        int // sandboxes that boot at a time; 0 means one for each CPU
	BootQueue    int // sandboxes that wait for their turn to boot, at most; 0 means DefaultBootQueue
	MaxSandboxes int // in all; 0 means as many as the host has memory for
	MaxPerOwner  int // of one owner; 0 means any number

	Log *slog.Logger // nil means slog.Default()
}

func (c *Config) validate() error {
	setDefault(&c.DataDir, template.DefaultDir)
	setDefault(&c.RunDir, registry.DefaultDir)
	dir, err := filepath.Abs(c.RunDir) // it is recorded, for others to read
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	c.RunDir = dir
	setDefault(&c.Path, registry.Relay)
	setDefault(&c.WaitBooting, DefaultWaitBooting)
	setDefault(&c.BootTimeout, DefaultBootTimeout)
	setDefault(&c.VCPUs, DefaultVCPUs)
	setDefault(&c.MemoryMiB, DefaultMemoryMiB)
	setDefault(&c.Boots, runtime.NumCPU())
	setDefault(&c.BootQueue, DefaultBootQueue)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if err := errors.Join(c.Accel.Validate(), c.Path.Validate()); err != nil {
		return err
	}
	for name, n := range map[string]int{"pool size": c.PoolSize, "boots": c.Boots, "boot queue": c.BootQueue, "sandboxes": c.MaxSandboxes, "sandboxes of one key": c.MaxPerOwner, "vCPUs": c.VCPUs, "memory": c.MemoryMiB, "boot timeout": int(c.BootTimeout), "wait for a booting sandbox": int(c.WaitBooting)} {
		if n < 0 {
			return fmt.Errorf("%s: %d is below 0", name, n)
		}
	}
	return nil
}

func (c *Config) pool() network.PoolConfig {
	return network.PoolConfig{Registry: registry.Dir(c.RunDir), Idle: c.PoolSize, First: c.FirstSlot, Log: c.Log}
}

func consoleDir(runDir string) string { return filepath.Join(runDir, "console") }

func (m *Manager) console(id string) string {
	return filepath.Join(consoleDir(m.cfg.RunDir), id+".log")
}

func setDefault[T comparable](v *T, ifZero T) {
	var zero T
	if *v == zero {
		*v = ifZero
	}
}
