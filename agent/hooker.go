package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"

	"tapwatch/agent/probe"
	"tapwatch/internal/netns"
)

// hooker puts hooks on taps and takes them off, in the order in which it is
// told to, in a goroutine of its own: each takes part of a millisecond, and with
// a thousand taps at once nothing else may wait for that.
type hooker struct {
	log   *slog.Logger
	probe *probe.Probe
	// wanted says whether an attachment still is; attached is told how it ended,
	// and whether the hooks may stay; retired gets what hooks that go had counted.
	wanted   func(hooking) bool
	attached func(o hooking, done bool) (stay bool)
	retired  func(hooking)

	mu     sync.Mutex // of what follows
	queue  []hooking
	wake   chan struct{} // holds one
	errors map[string]uint64
}

// hooking is one thing to do.
type hooking struct {
	slot    *slot // of an attachment; nil: to be taken off
	attempt uint64
	path    string
	device  netns.Device
	name    string
	last    probe.Counters // what was read before, of one to be taken off
	gone    *gone          // where the last counters are to be told; nil: nowhere
}

func newHooker(p *probe.Probe, log *slog.Logger) *hooker {
	return &hooker{log: log, probe: p, wake: make(chan struct{}, 1), errors: map[string]uint64{}}
}

func (h *hooker) do(o hooking) {
	h.mu.Lock()
	h.queue = append(h.queue, o)
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hooker) take() (o hooking, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		h.queue = nil // what a storm needed is given back
		return o, false
	}
	o, h.queue = h.queue[0], h.queue[1:]
	return o, true
}

// run works until the context ends; what is then still queued is left to
// model.detachAll.
func (h *hooker) run(ctx context.Context) {
	for {
		for o, ok := h.take(); ok && ctx.Err() == nil; o, ok = h.take() {
			h.one(o)
		}
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		}
	}
}

// rest does what was still queued when run ended: only what takes hooks off.
func (h *hooker) rest() {
	for o, ok := h.take(); ok; o, ok = h.take() {
		if o.slot == nil {
			h.one(o)
		}
	}
}

func (h *hooker) one(o hooking) {
	if o.slot == nil {
		h.detach(o)
		return
	}
	if !h.wanted(o) {
		return
	}
	if err := h.probe.Attach(o.path, o.device, o.name); err != nil {
		h.failed(o, err)
		h.attached(o, false)
	} else if !h.attached(o, true) { // let go of meanwhile
		h.detach(o)
	}
}

func (h *hooker) failed(o hooking, err error) {
	h.mu.Lock()
	h.errors[reason(err)]++
	h.mu.Unlock()
	if errors.Is(err, netns.ErrNotExist) || errors.Is(err, probe.ErrWrongDevice) {
		h.log.Debug("attach hooks", "netns", o.path, "err", err) // it went meanwhile
	} else if o.slot.attachFailed.CompareAndSwap(false, true) { // it is tried again and again: say it once
		h.log.Warn("attach hooks: this tap's traffic is not seen", "netns", o.path, "err", err)
	}
}

// detach takes the hooks off, and hands on what they counted to the last.
func (h *hooker) detach(o hooking) {
	if c, err := h.probe.Counters(o.device); err == nil {
		o.last = c
	}
	h.retired(o)
	if err := h.probe.Detach(o.path, o.device); err != nil {
		h.log.Warn("detach hooks", "netns", o.path, "err", err)
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

// attach has hooks put on the slot's tap where it has none.
func (m *model) attach(s *slot) {
	if s.hooks == nil && !m.noHooks {
		m.hook(s)
	}
}

// hook has hooks put on the slot's tap, again where it has some: what still
// stands there is left as it is.
func (m *model) hook(s *slot) {
	if s.tap == nil || s.attaching {
		return
	}
	s.attaching = true
	m.hooker.do(hooking{slot: s, attempt: s.attempt, path: s.entry.Path, name: s.tap.Name,
		device: netns.Device{Netns: s.entry.Cookie, Ifindex: s.tap.Ifindex}})
}

func (m *model) wantsHooks(o hooking) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return o.slot.attaching && o.slot.attempt == o.attempt
}

// attached takes note of how an attachment ended, and says whether it is still
// wanted.
func (m *model) attached(o hooking, done bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := o.slot
	if !s.attaching || s.attempt != o.attempt {
		return false
	}
	s.attaching = false
	if done {
		if s.hooks == nil || s.hooks.device != o.device {
			s.hooks = &hooked{device: o.device}
		}
		s.changed()
		s.attachFailed.Store(false)
	}
	return true
}

// detach has the hooks taken off, and a pending attachment given up.
func (m *model) detach(s *slot) { m.unhook(s, nil) }

// unhook is detach, and has the last counters told with what has gone.
func (m *model) unhook(s *slot, g *gone) {
	s.attaching = false
	s.attempt++
	if s.hooks == nil {
		return
	}
	m.hooker.do(hooking{path: s.entry.Path, device: s.hooks.device, last: s.hooks.counters, gone: g})
	s.hooks = nil
	s.changed()
}

// retire keeps the latencies of hooks that go in the fleet's histogram, and their
// counters for as long as they are told.
func (m *model) retire(o hooking) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired.add(&o.last)
	if o.gone != nil {
		o.gone.last(o.last)
	}
}

// detachAll is the clean stop, after the hooker's end. Sandboxes lose their hooks
// last, since the next agent may be about to come.
func (m *model) detachAll() {
	m.each(func(s *slot) {
		if _, bound := m.bound[s]; !bound {
			m.detach(s)
		}
	})
	m.eachBound(m.detach)
	m.hooker.rest()
}
