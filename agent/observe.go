package agent

import (
	"context"
	"errors"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
)

// What is read from the kernel now and then, because nothing tells it: counters
// of the hooks and listening sockets. Both are read without the model's lock.

const (
	// holdersEvery is how often holders are read while a bound tap has no carrier:
	// that a VMM elsewhere took another tap tells nobody.
	holdersEvery = 5
	// listenersEvery is how often listeners are read while all is well, for their
	// queues, and where the kernel does not tell who begins or ceases to listen.
	// Where a bound slot's are not known they are read every time.
	listenersEvery = 5
	// idleEvery is how often the idle slots' counters are read: nobody waits for them.
	idleEvery = 10
	// quickEvery is the time between two looks for requests that have now waited too
	// long, while any waits.
	quickEvery = 100 * time.Millisecond
	// brokenEvery is how often what is broken is diagnosed again though nothing has
	// changed: for its evidence, which tells how long ago.
	brokenEvery = 5
)

// observe reads every so often, and runs the checks again: some problems only
// time tells.
func (a *Agent) observe(ctx context.Context) {
	tick, quick := time.NewTicker(a.cfg.Every), time.NewTicker(quickEvery)
	defer tick.Stop()
	defer quick.Stop()
	for n := 0; ; n++ {
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-quick.C:
				a.model.lookAtWaiting()
			case slots := <-a.refused:
				a.model.lookNow(slots)
			case <-tick.C:
				waiting = false
			}
		}
		a.model.readCounters(n%idleEvery == 0)
		if a.model.anyWaits() {
			quick.Reset(quickEvery)
		} else {
			quick.Stop()
		}
		a.model.lookForHidden(n)
		a.model.settleBoots(time.Now())
		a.model.settleDepartures(time.Now())
		a.model.prune(time.Now(), a.Ready)
		a.model.forgetGone(time.Now())
		quiet := a.model.checkAll(n, a.told.listens != nil)
		if !quiet || n%listenersEvery == 0 {
			a.told.relays.ask()
		}
		if n%holdersEvery == 0 {
			if odd := a.model.suspicious(); len(odd) > 0 {
				a.discover.Rescan()
				a.holding.ask(odd...)
			}
		}
	}
}

// tapDue is a tap whose counters are to be read.
type tapDue struct {
	slot   *slot
	device netns.Device
}

// reading is what they are.
type reading struct {
	tapDue
	fresh probe.Counters
	err   error
}

// readings are taken in by the chunk: those of ten thousand taps would be megabytes.
type readings struct {
	model *model
	some  []reading
}

func (r *readings) add(one reading) {
	if r.some = append(r.some, one); len(r.some) == chunk {
		r.take()
	}
}

func (r *readings) take() {
	r.model.mu.Lock()
	defer r.model.mu.Unlock()
	for i := range r.some {
		r.model.count(&r.some[i])
	}
	r.some = r.some[:0]
}

// readCounters reads the counters of the taps that may have counted something
// since the last time. Where those are most, one pass over the map is cheaper
// than many calls.
func (m *model) readCounters(idleToo bool) {
	taps, hooked := m.due(idleToo)
	if len(taps) == 0 {
		return
	}
	into := readings{model: m}
	if 4*len(taps) < hooked || len(taps) < chunk {
		for _, d := range taps {
			into.add(m.read(d))
		}
	} else {
		m.readAll(taps, &into)
	}
	into.take()
}

func (m *model) read(d tapDue) reading {
	c, err := m.probe.Counters(d.device)
	return reading{d, c, err}
}

func (m *model) readAll(taps []tapDue, into *readings) {
	left := make(map[netns.Device]*slot, len(taps))
	for _, d := range taps {
		left[d.device] = d.slot
	}
	err := m.probe.AllCounters(func(d netns.Device, c probe.Counters) {
		if s, ok := left[d]; ok {
			delete(left, d)
			into.add(reading{tapDue{s, d}, c, nil})
		}
	})
	for d, s := range left { // passed over while the map changed
		into.add(m.read(tapDue{s, d}))
	}
	if err != nil {
		m.log.Debug("read all counters", "err", err)
	}
}

// due returns the taps to read, and how many were looked at.
func (m *model) due(idleToo bool) (taps []tapDue, hooked int) {
	now, since := ktime.Now(), m.readAt
	if idleToo {
		since = m.idleReadAt
	}
	err := m.probe.ReadActivity(&m.activity, since)
	switch {
	case err != nil:
		m.log.Warn("every tap is read", "err", err)
	case idleToo:
		m.readAt, m.idleReadAt = now, now
	default:
		m.readAt = now
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	look := func(s *slot) {
		if s.hooks == nil {
			m.attach(s) // an ingress qdisc may have gone
			return
		}
		hooked++
		if err != nil || !s.hooks.read || s.hooks.unread || m.activity.Of(s.hooks.device) {
			taps = append(taps, tapDue{s, s.hooks.device})
		}
	}
	if idleToo {
		for _, s := range m.slots {
			look(s)
		}
	} else {
		for s := range m.bound {
			look(s)
		}
	}
	return taps, hooked
}

// count takes a reading, if it is still of the slot's hooks.
func (m *model) count(r *reading) {
	s := r.slot
	if s.hooks == nil || s.hooks.device != r.device {
		return
	}
	if errors.Is(r.err, probe.ErrNotAttached) && !s.hooks.unread { // perhaps they are just being swapped
		s.hooks.unread = true
		return
	}
	if r.err != nil {
		m.log.Warn("read counters: this tap's traffic is not seen", "netns", s.entry.Name, "err", r.err)
		m.detach(s) // old counts must not pass for new ones
		return
	}
	s.hooks.read, s.hooks.unread = true, false
	if s.hooks.update(r.fresh, time.Now()) {
		s.changed()
		m.phasesOfTraffic(s)
		if s.waits() {
			m.waiting[s] = struct{}{}
		}
	}
}

// checkAll runs the checks where something is new or time may tell. It reports
// whether every bound slot's listener is known to be there, or known at all where
// the kernel tells of those that come and go.
func (m *model) checkAll(n int, told bool) bool {
	quiet := true
	m.eachBound(func(s *slot) {
		if s.restless() || s.diagnosis.State == path.Broken && int(s.entry.Cookie%brokenEvery) == n%brokenEvery {
			if s.troubled() { // traffic alone is no reason to look at a process
				s.look()
			}
			m.diagnose(s, time.Now())
		}
		known := s.relay.Listening == path.Yes || told && s.relay.Listening == path.No
		quiet = quiet && (known && s.relay.Queue.FullSince.IsZero() || !path.HasRelay(s.entry.Binding.Shape))
	})
	return quiet
}

// suspicious returns the bound slots without carrier.
func (m *model) suspicious() (odd []*slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.bound {
		if s.tap != nil && carrierOf(s.tap) == path.No {
			odd = append(odd, s)
		}
	}
	return odd
}
