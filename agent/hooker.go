package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"

	"golang.org/x/sys/unix"

	"tapwatch/agent/probe"
	"tapwatch/agent/slots"
	"tapwatch/internal/netns"
)

// hooker puts hooks on taps and takes them off, in the order in which slots wants it,
// in a goroutine of its own: each takes part of a millisecond, and with a thousand taps
// at once nothing else may wait for that.
type hooker struct {
	log      *slog.Logger
	probe    *probe.Probe
	slots    *slots.Slots
	counters *counters
	wake     *asker

	mu     sync.Mutex
	errors map[string]uint64     // failed attachments, by reason
	said   map[netns.Device]bool // taps whose failure was logged: it is tried again and again
}

func newHooker(p *probe.Probe, s *slots.Slots, c *counters, log *slog.Logger) *hooker {
	return &hooker{log: log, probe: p, slots: s, counters: c, wake: newAsker(0, 0, 0), errors: map[string]uint64{}, said: map[netns.Device]bool{}}
}

// run works until the context ends; the rest of what is to be taken off is left to
// stop.
func (h *hooker) run(ctx context.Context) {
	h.wake.run(ctx, func([]slots.Key) {
		for orders := h.slots.Orders(); len(orders) > 0; orders = h.slots.Orders() {
			for i, o := range orders {
				if ctx.Err() != nil {
					h.takeOff(orders[i:])
					return
				}
				h.one(o)
			}
		}
	})
}

// stop takes all hooks off, after the end of run.
func (h *hooker) stop() {
	h.slots.Unhook()
	h.takeOff(h.slots.Orders())
}

func (h *hooker) takeOff(orders []slots.Order) {
	for _, o := range orders {
		if o.Off {
			h.detach(o)
		}
	}
}

func (h *hooker) one(o slots.Order) {
	if o.Off {
		h.detach(o)
		return
	}
	if !h.slots.Wanted(o) {
		return
	}
	if err := h.probe.Attach(o.Path, o.Device, o.Name); err != nil {
		h.failed(o, err)
		h.slots.TakeHooked(o, false)
		return
	}
	if !h.slots.TakeHooked(o, true) { // let go of meanwhile
		h.detach(o)
		return
	}
	h.counters.hooked(o.Device)
	h.mu.Lock()
	delete(h.said, o.Device)
	h.mu.Unlock()
}

func (h *hooker) failed(o slots.Order, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errors[reason(err)]++
	switch {
	case errors.Is(err, netns.ErrNotExist) || errors.Is(err, probe.ErrWrongDevice) || errors.Is(err, unix.ENODEV):
		h.log.Debug("attach hooks", "netns", o.Path, "err", err) // it went meanwhile
	case !h.said[o.Device]:
		h.said[o.Device] = true
		h.log.Warn("attach hooks: this tap's traffic is not seen", "netns", o.Path, "device", o.Name, "err", err)
	}
}

// detach takes the hooks off, and hands on what they counted to the last.
func (h *hooker) detach(o slots.Order) {
	last := h.counters.unhooked(o.Device)
	if o.Last != nil && last != nil {
		o.Last(last)
	}
	if err := h.probe.Detach(o.Path, o.Device); err != nil {
		h.log.Warn("detach hooks", "netns", o.Path, "err", err)
	}
}

func reason(err error) string {
	switch {
	case errors.Is(err, netns.ErrNotExist):
		return "namespace gone"
	case errors.Is(err, probe.ErrWrongDevice):
		return "device gone"
	case errors.Is(err, probe.ErrIngressQdisc):
		return "ingress qdisc"
	case errors.Is(err, probe.ErrPriorityTaken):
		return "priority taken"
	case errors.Is(err, probe.ErrTCXFirst):
		return "tcx first"
	}
	return "other"
}

// failures counts failed attachments by reason.
func (h *hooker) failures() map[string]uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.errors)
}
