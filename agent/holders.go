package agent

import (
	"log/slog"
	"time"

	"tapwatch/agent/discover"
	"tapwatch/agent/probe"
	"tapwatch/agent/slots"
	"tapwatch/internal/proc"
)

const (
	// holdersDelay gathers the changes of many taps into one reading of all holders.
	holdersDelay = 10 * time.Millisecond
	// holdersRest bounds the rest between two readings, which else is such that no
	// more than a tenth of the time goes into them.
	holdersRest = 250 * time.Millisecond
)

// holders reads who holds the taps, all of them at once, and who those processes are.
type holders struct {
	*asker
	slots *slots.Slots
	probe *probe.Probe
	who   *discover.Watcher
	vmms  *vmms
	log   *slog.Logger
}

func newHolders(p *probe.Probe, s *slots.Slots, who *discover.Watcher, v *vmms, log *slog.Logger) *holders {
	return &holders{asker: newAsker(holdersDelay, 9, holdersRest), slots: s, probe: p, who: who, vmms: v, log: log.With("part", "holders")}
}

// read asks the kernel, and hands on what concerns the taps that were asked about.
func (h *holders) read(asked []slots.Key) {
	if len(asked) == 0 {
		return
	}
	all, err := h.probe.Holders()
	if err != nil {
		h.log.Debug("read holders", "err", err)
	}
	for _, t := range h.slots.Targets(asked...) { // a carrier that went may have gone with its VMM
		h.vmms.look(t)
	}
	h.slots.TakeHolders(asked, h.identify(all), err == nil)
}

// identify says who the holders are.
func (h *holders) identify(all []probe.Holder) []slots.Holder {
	type hold struct {
		pid int
		of  probe.Holder
	}
	out := make([]slots.Holder, 0, len(all))
	on := map[hold]bool{}
	for _, f := range all {
		on[hold{f.PID, probe.Holder{Tap: f.Tap}}] = true
	}
	for _, f := range all {
		v, ok := h.who.Process(f.PID, f.TapName)
		if !ok { // it has ended meanwhile, or may not be looked into
			process, err := proc.ProcessOf(f.PID)
			if err != nil {
				continue
			}
			v.Process, v.Started = process, process.Started()
		}
		if v.Command == "" {
			v.Command = f.Command
		}
		h.vmms.watch(f.PID)
		out = append(out, slots.Holder{VMM: vmmOf(&v), Device: f.Tap, Tap: f.TapName, In: f.ProcessNetns,
			Inherited: v.Parent != 0 && on[hold{v.Parent, probe.Holder{Tap: f.Tap}}]})
	}
	return out
}
