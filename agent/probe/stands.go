package probe

import (
	"fmt"

	"tapwatch/internal/netns"
)

// Stands says whether what Attach put on a device is still there and counts. It
// takes some 0.2 ms where the device has filters, inside its namespace, and less
// elsewhere. The error is ErrNotAttached for a device that is not attached,
// ErrWrongDevice or netns.ErrNotExist for one that is gone.
func (p *Probe) Stands(nsPath string, d netns.Device) (bool, error) {
	a := p.device(d)
	if a == nil {
		return false, ErrNotAttached
	}
	if a.mode != ModeTC {
		return a.linked(d), nil
	}
	stands := false
	err := netns.Do(nsPath, func() error {
		if err := verifyNetns(d); err != nil {
			return err
		}
		s, err := p.standingOn(d)
		stands = s.counting
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look for hooks in %s: %w", nsPath, err)
	}
	return stands, nil
}
