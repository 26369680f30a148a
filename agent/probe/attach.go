package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

var (
	// ErrNotAttached is returned for a device without our hooks.
	ErrNotAttached = errors.New("no hooks on this device")
	// ErrWrongDevice is returned where the namespace has another device, or none,
	// under that index: attaching by index alone would succeed silently.
	ErrWrongDevice = errors.New("not the device that was meant")
	// ErrIngressQdisc is returned where a legacy ingress qdisc stands in the
	// place of clsact.
	ErrIngressQdisc = errors.New("an ingress qdisc is in clsact's place")
)

// Attach counts from now on what passes device, which lies in the namespace at
// nsPath. Filters that a killed agent left are replaced in place. Attaching
// twice keeps the counters.
func (p *Probe) Attach(nsPath string, d Device, name string) error {
	if err := p.register(d); err != nil {
		return err
	}
	err := netns.Do(nsPath, func() error {
		if err := verify(d, name); err != nil {
			return err
		}
		made, err := p.hooks.ensureClsact(nsPath, d)
		if err != nil {
			return err
		}
		err = errors.Join(
			p.hooks.replaceFilter(d, 0, p.tap.TapwatchRx),
			p.hooks.replaceFilter(d, 1, p.tap.TapwatchTx),
		)
		if err != nil {
			err = errors.Join(err, p.hooks.removeFilters(d), p.hooks.dropClsact(d, made))
		}
		return err
	})
	if err != nil {
		p.forget(d)
		return fmt.Errorf("attach to %s in %s: %w", name, nsPath, err)
	}
	return nil
}

// Detach takes our hooks from a device and forgets its counters. A namespace or
// device that is gone already is no error.
func (p *Probe) Detach(nsPath string, d Device) error {
	defer p.forget(d)
	err := netns.Do(nsPath, func() error {
		if here, err := netns.Current(); err != nil || here != d.Netns {
			return err // the name now means another namespace: ours has gone
		}
		if err := p.hooks.removeFilters(d); err != nil {
			return err
		}
		return p.hooks.dropClsact(d, p.hooks.made(d))
	})
	if errors.Is(err, netns.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("detach from device %d in %s: %w", d.Ifindex, nsPath, err)
	}
	return p.hooks.forget(d)
}

func (p *Probe) register(d Device) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	zero := make([]bpf.TapStats, cpus)
	err = p.tap.Taps.Update(d.key(), zero, ebpf.UpdateNoExist)
	if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("register device: %w", err)
	}
	return nil
}

func (p *Probe) forget(d Device) {
	// Not there is what we want; there is no other failure for a valid key.
	_ = p.tap.Taps.Delete(d.key())
}

func verify(d Device, name string) error {
	here, err := netns.Current()
	if err != nil {
		return err
	}
	if here != d.Netns {
		return fmt.Errorf("%w: namespace cookie %d, not %d", ErrWrongDevice, here, d.Netns)
	}
	l, err := netlink.LinkByIndex(int(d.Ifindex))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWrongDevice, err)
	}
	if l.Attrs().Name != name {
		return fmt.Errorf("%w: index %d is %s", ErrWrongDevice, d.Ifindex, l.Attrs().Name)
	}
	return nil
}
