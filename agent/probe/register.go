package probe

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
)

// What is kept of a device: its counters, which are in the kernel from register
// to forget, and how it is hooked.

// register lets the device's counters begin now, at zero.
func (p *Probe) register(d netns.Device, mode Mode) error {
	fresh, now := make([]bpf.TapStats, p.cpus), uint64(ktime.Now()) // by which all CPUs know the device's guest
	for i := range fresh {
		fresh[i] = bpf.TapStats{Created: now, Hook: uint32(mode.hook())}
	}
	_ = p.tap.Maps[bpf.TapMapDrops].Delete(keyOf(d)) // most have none
	err := p.tap.Taps.Update(keyOf(d), fresh, ebpf.UpdateAny)
	// The kernel makes memory for entries in the background, and many new ones at
	// once are too fast for it.
	for try := 0; errors.Is(err, unix.ENOMEM) && try < 100; try++ {
		time.Sleep(time.Millisecond)
		err = p.tap.Taps.Update(keyOf(d), fresh, ebpf.UpdateAny)
	}
	if err != nil {
		return fmt.Errorf("register device: %w", err)
	}
	return nil
}

// registered says whether the device has counters that this mode's programs count.
func (p *Probe) registered(d netns.Device, mode Mode) bool {
	var s []bpf.TapStats
	err := p.tap.Taps.Lookup(keyOf(d), &s)
	return err == nil && s[0].Hook == uint32(mode.hook())
}

func (p *Probe) device(d netns.Device) *attached {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.devices[d]
}

// takeDevice forgets how a device is hooked, and returns it.
func (p *Probe) takeDevice(d netns.Device) *attached {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.devices[d]
	delete(p.devices, d)
	return a
}

func (p *Probe) setDevice(d netns.Device, a *attached) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.devices[d] = a
	p.mayDisown = true
}

func (p *Probe) forget(d netns.Device) {
	p.mu.Lock()
	delete(p.devices, d)
	p.mu.Unlock()
	// Not there is what we want; there is no other failure for a valid key.
	_ = p.tap.Taps.Delete(keyOf(d))
	_ = p.tap.Maps[bpf.TapMapDrops].Delete(keyOf(d))
}
