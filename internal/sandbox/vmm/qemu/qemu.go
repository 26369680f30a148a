// Package qemu starts virtual machines with QEMU's microvm: virtio over MMIO, no
// PCI, found by the guest through ACPI tables.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"tapwatch/internal/sandbox/vmm"
)

// binary is QEMU's name in Debian's package qemu-system-x86.
const binary = "qemu-system-x86_64"

// ErrNoQEMU is returned where QEMU is not installed.
var ErrNoQEMU = errors.New(binary + " not found: apt-get install qemu-system-x86")

// Accel is how the guest's instructions are run.
type Accel string

// The accelerators. Auto takes KVM where a guest really boots with it: see Probe.
const (
	Auto Accel = "auto"
	KVM  Accel = "kvm"
	TCG  Accel = "tcg" // emulation: works everywhere
)

// Options are the same for every machine of a launcher.
type Options struct {
	Accel  Accel  // empty: Auto
	RunDir string // keeps Auto's verdict until the next boot; empty: nothing is kept
}

// Start starts the machine and returns while it boots. The errors are ErrNoQEMU,
// netns.ErrNotExist, vmm.ErrNoTap, or say which file is missing; what QEMU itself
// refuses (a busy tap) ends the machine and is its Err. The root file system is not written
// to: QEMU keeps the guest's writes in a temporary file without a name.
func Start(ctx context.Context, spec vmm.Spec, o Options) (*vmm.Machine, error) {
	path, err := find()
	if err != nil {
		return nil, err
	}
	accel, err := o.accel(ctx, spec)
	if err != nil {
		return nil, err
	}
	args, err := arguments(spec, accel)
	if err != nil {
		return nil, err
	}
	if spec.NIC != nil {
		if err := vmm.CheckTap(spec.Netns, spec.NIC.Tap); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, args...) // it outlives its start
	return vmm.Launch(ctx, cmd, spec.Netns)
}

// Check says in one line what this host lacks for starting machines.
func Check() error {
	_, err := find()
	return err
}

func find() (string, error) {
	path, err := exec.LookPath(binary)
	if err != nil {
		return "", ErrNoQEMU
	}
	return path, nil
}

// Validate refuses what is none of the accelerators; empty is Auto.
func (a Accel) Validate() error {
	switch a {
	case "", Auto, KVM, TCG:
		return nil
	}
	return fmt.Errorf("unknown accelerator %q: auto, kvm or tcg", a)
}

// accel settles Auto.
func (o Options) accel(ctx context.Context, spec vmm.Spec) (Accel, error) {
	if err := o.Accel.Validate(); err != nil {
		return "", err
	}
	if o.Accel == KVM || o.Accel == TCG {
		return o.Accel, nil
	}
	v, err := Probe(ctx, spec.Kernel, spec.Initrd, o.RunDir)
	if err != nil && !errors.Is(err, ErrNotKept) {
		return "", err
	}
	return v.Accel(), nil
}

// readable reports what QEMU would only report on its way out.
func readable(paths ...string) error {
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return fmt.Errorf("start VMM: %w", err)
		}
		f.Close()
	}
	return nil
}
