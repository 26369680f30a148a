package probe

import (
	"errors"
	"fmt"

	"tapwatch/internal/netns"
)

// Detach takes our hooks from a device and forgets its counters. A namespace or
// device that is gone already is no error.
func (p *Probe) Detach(nsPath string, d netns.Device) error {
	was := p.takeDevice(d) // before its filters go: they are not to be missed
	defer p.forget(d)
	switch {
	case was != nil && was.mode == ModeTracepoint:
		return nil
	case was != nil && was.mode == ModeTCX:
		if err := closeLinks(was.links); err != nil {
			return fmt.Errorf("detach from device %d in %s: %w", d.Ifindex, nsPath, err)
		}
		return nil
	}
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
