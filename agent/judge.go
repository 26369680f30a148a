package agent

import (
	"context"
	"net/netip"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/slots"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// judge runs the checks wherever facts have changed, without the lock of the slots.
// Before a problem is told that was not told yet, it reads anew what is read now and
// then only.
type judge struct {
	slots     *slots.Slots
	inForce   *inForce
	records   registry.Dir
	vmms      *vmms
	counters  *counters
	listeners *listeners
	once      bool // a look that ends at once: nothing comes later
	wake      *asker
}

func newJudge(cfg Config, s *slots.Slots, in *inForce, v *vmms, c *counters, l *listeners) *judge {
	return &judge{slots: s, inForce: in, records: registry.Dir(cfg.RunDir), vmms: v, counters: c, listeners: l, once: cfg.once, wake: newAsker(0, 0, 0)}
}

func (j *judge) run(ctx context.Context) {
	j.wake.run(ctx, func([]slots.Key) { j.all() })
}

// all judges what is due now.
func (j *judge) all() {
	for cases := j.slots.Cases(); len(cases) > 0; cases = j.slots.Cases() {
		for _, c := range cases {
			facts := c.Facts
			if c.Blind { // what is hidden is no silence
				facts.Traffic = nil
			}
			d := j.inForce.checks.Load().RunKnowing(facts, c.Known)
			if again := j.slots.TakeVerdict(c, d, diagnose.Passing(d)); again != nil {
				j.confirm(*again)
			}
		}
	}
}

// confirm reads anew what a problem may rest on. A launcher writes what it does into the
// record of a sandbox before it does it: where the record is another than the one that
// was read, what it says now comes first.
func (j *judge) confirm(t slots.Target) {
	if j.once {
		j.slots.Confirm(t)
		return
	}
	if !t.Foreign && !j.records.Stands(t.Record.Index, t.Record.Stamp) {
		return // discovery reads it, and the sandbox is judged by that
	}
	l := j.listeners
	if t.NoProxy && l.nowListens("", l.proxy) || t.NoRelay && t.Addrs.Vpeer.IsValid() && l.nowListens(t.Path, netip.AddrPortFrom(t.Addrs.Vpeer, l.port)) {
		l.wake.ask() // the same
		return
	}
	j.vmms.look(t)
	j.counters.readSome([]netns.Device{t.Key.Device})
	j.slots.Confirm(t)
}
