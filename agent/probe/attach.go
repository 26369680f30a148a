package probe

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

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
	// ErrPriorityTaken is returned where a filter of another kind has priority 1
	// and would decide before ours are reached.
	ErrPriorityTaken = errors.New("another filter decides first, at priority 1")
	// ErrTCXFirst is returned where another's TCX programs decide before any filter.
	ErrTCXFirst = errors.New("TCX programs decide before filters")
)

// attached is a device that carries our hooks.
type attached struct {
	mode  Mode
	links []link.Link // of ModeTCX; kept here, since finalizers close what is not kept
}

// Attach counts from now on what passes device, which lies in the namespace at
// nsPath. Filters that a killed agent left go on, and so do their counters.
// Attaching twice keeps the counters.
func (p *Probe) Attach(nsPath string, d netns.Device, name string) error {
	start := time.Now()
	if p.standsElsewhere(d) {
		return nil
	}
	mode := p.mode
	err := p.attach(mode, nsPath, d, name)
	for _, next := range p.fallbacks {
		if !standsInTheWay(err) {
			break
		}
		mode = next
		err = p.attach(mode, nsPath, d, name)
	}
	if err != nil {
		return fmt.Errorf("attach to %s in %s: %w", name, nsPath, err)
	}
	p.stats.attached(mode, time.Since(start))
	return nil
}

// standsElsewhere says whether a device is hooked without filters, and may stay so. It
// lets TCX programs go where somebody has removed one of them, or where they stood in
// for filters: attach then puts them before whatever others have put there since.
func (p *Probe) standsElsewhere(d netns.Device) bool {
	was := p.device(d)
	if was == nil || was.mode == ModeTC {
		return false // filters are looked at in the device's namespace
	}
	if was.mode == ModeTracepoint || (was.mode == p.mode && was.linked(d)) {
		return true
	}
	_ = closeLinks(was.links) // one that is gone cannot be closed
	return false
}

// standsInTheWay says whether an attachment failed for what another put on the
// device, so that another mode may do.
func standsInTheWay(err error) bool {
	return errors.Is(err, ErrIngressQdisc) || errors.Is(err, ErrPriorityTaken) || errors.Is(err, ErrTCXFirst)
}

func (p *Probe) attach(mode Mode, nsPath string, d netns.Device, name string) (err error) {
	defer func() {
		if err != nil {
			p.forget(d)
		}
	}()
	now := &attached{mode: mode}
	if mode == ModeTracepoint {
		err = errors.Join(p.attachTracepoints(), p.register(d, mode))
	} else {
		err = netns.Do(nsPath, func() error {
			if err := verify(d, name); err != nil {
				return err
			}
			if mode == ModeTC {
				return p.attachTC(nsPath, d)
			}
			now.links, err = p.replaceWithTCX(d)
			return err
		})
	}
	if err == nil {
		p.setDevice(d, now)
	}
	return err
}

// attachTC puts filters on the device of the present namespace, or leaves those
// that are there where they are ours. They are swapped in place where they run
// another version of the programs.
func (p *Probe) attachTC(nsPath string, d netns.Device) (err error) {
	if slices.Contains(p.fallbacks, ModeTCX) && hasTCX(d) {
		return ErrTCXFirst
	}
	stands, err := p.standingOn(d)
	if err != nil {
		return err
	}
	if !stands.counting || !p.registered(d, ModeTC) {
		if err := p.register(d, ModeTC); err != nil {
			return err
		}
	}
	if stands.current {
		return nil
	}
	made, err := p.hooks.ensureClsact(nsPath, d)
	if err != nil {
		return err
	}
	for i := range directions {
		if err := p.hooks.replaceFilter(d, i, p.tap.Programs[directions[i].name], made); err != nil {
			return errors.Join(err, p.hooks.removeFilters(d), p.hooks.dropClsact(d, made))
		}
	}
	return nil
}

// replaceWithTCX hooks the device of the present namespace, and takes away the
// filters of an agent that ran in another mode.
func (p *Probe) replaceWithTCX(d netns.Device) ([]link.Link, error) {
	err := errors.Join(p.hooks.removeFilters(d), p.hooks.dropClsact(d, p.hooks.made(d)))
	if err != nil {
		return nil, err
	}
	if err := p.register(d, ModeTCX); err != nil {
		return nil, err
	}
	return p.attachTCX(d)
}

// verifyNetns says whether the present namespace is the device's.
func verifyNetns(d netns.Device) error {
	here, err := netns.Current()
	if err != nil {
		return err
	}
	if here != d.Netns {
		return fmt.Errorf("%w: namespace cookie %d, not %d", ErrWrongDevice, here, d.Netns)
	}
	return nil
}

// verify says whether the device of the present namespace is the one that is meant.
func verify(d netns.Device, name string) error {
	if err := verifyNetns(d); err != nil {
		return err
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
