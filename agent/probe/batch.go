package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// batchSize is how many devices one system call reads: about 200 kB on two CPUs.
const batchSize = 256

// AllCounters calls fn with what each attached device counted, in no order. It
// costs about a microsecond a device, where Counters takes a system call each. A
// device that comes or goes meanwhile may be left out.
func (p *Probe) AllCounters(fn func(netns.Device, Counters)) error {
	drops, err := p.allDrops()
	if err != nil {
		return fmt.Errorf("read all drops: %w", err)
	}
	with := func(d netns.Device, c Counters) {
		c.Drops, c.Losses = drops[d], p.losses != nil
		fn(d, c)
	}
	err = p.batches(with)
	if errors.Is(err, ebpf.ErrNotSupported) {
		err = p.oneByOne(with)
	}
	if err != nil {
		return fmt.Errorf("read all counters: %w", err)
	}
	return nil
}

func (p *Probe) batches(fn func(netns.Device, Counters)) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	var cursor ebpf.MapBatchCursor
	size := batchSize
	keys := make([]bpf.TapKey, size)
	values := make([]bpf.TapStats, size*cpus)
	for {
		n, err := p.tap.Taps.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			fn(deviceOf(keys[i]), sum(values[i*cpus:(i+1)*cpus]))
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist): // the end
			return nil
		case err != nil: // ENOSPC: a bucket of the hash is larger than the batch
			return err
		}
	}
}

// oneByOne is for kernels that cannot read such a map by the batch.
func (p *Probe) oneByOne(fn func(netns.Device, Counters)) error {
	var key bpf.TapKey
	var perCPU []bpf.TapStats
	it := p.tap.Taps.Iterate()
	for it.Next(&key, &perCPU) {
		fn(deviceOf(key), sum(perCPU))
	}
	return it.Err()
}

func deviceOf(k bpf.TapKey) netns.Device {
	return netns.Device{Netns: netns.Cookie(k.Netns), Ifindex: netns.Ifindex(k.Ifindex)}
}
