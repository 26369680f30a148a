package probe

import (
	"fmt"

	"tapwatch/bpf"
)

// Prune forgets the devices that keep does not want: those that went while no
// agent ran. Call it once all devices are known and attached.
func (p *Probe) Prune(keep func(Device) bool) (pruned int, err error) {
	var key bpf.TapKey
	var value []bpf.TapStats
	var gone []Device
	it := p.tap.Taps.Iterate()
	for it.Next(&key, &value) {
		if d := deviceOf(key); !keep(d) {
			gone = append(gone, d)
		}
	}
	for _, d := range gone {
		p.forget(d)
	}
	if err := it.Err(); err != nil {
		return len(gone), fmt.Errorf("prune counters: %w", err)
	}
	return len(gone), nil
}
