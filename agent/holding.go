package agent

import (
	"errors"
	"log/slog"
	"time"

	"tapwatch/agent/discover"
	"tapwatch/agent/holders"
	"tapwatch/agent/link"
	"tapwatch/agent/slots"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

const (
	// holdersDelay gathers the changes of many taps into one reading of all holders.
	holdersDelay = 10 * time.Millisecond
	// holdersRest bounds the rest between two readings, which else is such that no
	// more than a tenth of the time goes into them.
	holdersRest = 250 * time.Millisecond
	// holdersRetry is when holders are read again that could not be.
	holdersRetry = time.Second
)

// holding reads who holds the taps, all of them at once, and who those processes are.
type holding struct {
	*asker
	slots  *slots.Slots
	reader *holders.Reader
	who    *discover.Watcher
	links  *link.Watcher
	vmms   *vmms
	log    *slog.Logger
	done   *collections
}

func newHolding(r *holders.Reader, s *slots.Slots, who *discover.Watcher, links *link.Watcher, v *vmms, log *slog.Logger) *holding {
	return &holding{asker: newAsker(holdersDelay, 9, holdersRest), slots: s, reader: r, who: who, links: links, vmms: v, log: log.With("part", "holders")}
}

// read asks the kernel, and hands on what concerns the taps that were asked about.
func (h *holding) read(asked []slots.Key) {
	if len(asked) == 0 {
		return
	}
	for _, k := range h.slots.Down() {
		h.links.Recheck(k.Device)
	}
	began := time.Now()
	all, err := h.reader.Read()
	h.done.did("holders", began, err)
	if err != nil {
		h.log.Debug("read holders", "err", err)
		if !errors.Is(err, holders.ErrPIDs) { // which time does not mend
			time.AfterFunc(holdersRetry, func() { h.ask(asked...) })
		}
	}
	for _, t := range h.slots.Targets(asked...) { // a carrier that went may have gone with its VMM
		h.vmms.look(t)
	}
	h.slots.TakeHolders(asked, h.identify(all), err == nil)
}

// identify says who the holders are.
func (h *holding) identify(all []holders.Holder) []slots.Holder {
	type hold struct {
		tap netns.Device
		pid int
	}
	type as struct {
		tap string
		pid int
	}
	on := make(map[hold]bool, len(all))
	for _, f := range all {
		on[hold{f.Tap, f.PID}] = true
	}
	out := make([]slots.Holder, 0, len(all))
	living := make(map[proc.Process]bool, len(all))
	asked := map[as]*discover.VMM{} // a VMM holds a tap by each of its queues
	for _, f := range all {
		v, ok := asked[as{f.TapName, f.PID}], true
		if v == nil {
			v, ok = h.who.Holder(f.PID, f.TapName, "tap")
			asked[as{f.TapName, f.PID}] = v
		}
		if !ok { // it has ended meanwhile
			continue
		}
		living[v.Process] = true
		h.vmms.watch(f.PID)
		out = append(out, slots.Holder{VMM: vmmOf(v), Device: f.Tap, Tap: f.TapName, In: f.ProcessNetns,
			Inherited: v.Parent != 0 && v.Parent != f.PID && on[hold{f.Tap, v.Parent}]})
	}
	h.who.Holders(living)
	return out
}
