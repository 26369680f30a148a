package probe

import (
	"fmt"

	"tapwatch/internal/netns"
)

// Prune forgets the devices that keep does not want: those that went while no
// agent ran. Call it once all devices are known and attached.
func (p *Probe) Prune(keep func(netns.Device) bool) (pruned int, err error) {
	var gone []netns.Device
	err = p.AllCounters(func(d netns.Device, _ Counters) {
		if !keep(d) {
			gone = append(gone, d)
		}
	})
	for _, d := range gone {
		p.forget(d)
	}
	if err != nil {
		return len(gone), fmt.Errorf("prune counters: %w", err)
	}
	return len(gone), nil
}
