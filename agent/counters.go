package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/slots"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
)

// counters reads what the hooks on the taps have counted, of those taps that may have
// counted something since the last time.
type counters struct {
	probe *probe.Probe
	slots *slots.Slots
	log   *slog.Logger
	done  *collections

	// Of the goroutine of run alone:
	activity probe.Activity
	readAt   ktime.Moment

	mu      sync.Mutex
	tallies map[netns.Device]*tally // of the taps with hooks
	retired latency                 // of hooks that are gone
}

func newCounters(p *probe.Probe, s *slots.Slots, log *slog.Logger) *counters {
	return &counters{probe: p, slots: s, log: log.With("part", "counters"), tallies: map[netns.Device]*tally{}}
}

// chunk is how many taps are read one by one before one pass over all is cheaper.
const chunk = 64

// read reads the counters that may have changed.
func (c *counters) read() {
	began := time.Now()
	var err error
	defer func() { c.done.did("counters", began, err) }()
	due, hooked := c.due()
	if 4*len(due) < hooked || len(due) < chunk {
		c.readSome(due)
		return
	}
	left := make(map[netns.Device]bool, len(due))
	for _, d := range due {
		left[d] = true
	}
	err = c.probe.AllCounters(func(d netns.Device, got probe.Counters) {
		if left[d] {
			delete(left, d)
			c.take(d, &got, nil)
		}
	})
	c.readSome(slices.Collect(maps.Keys(left))) // passed over while the map changed
	if err != nil {
		c.log.Debug("read all counters", "err", err)
	}
}

// due returns the taps to read, and of how many.
func (c *counters) due() (due []netns.Device, hooked int) {
	now := ktime.Now()
	err := c.probe.ReadActivity(&c.activity, c.readAt)
	if err != nil {
		c.log.Warn("every tap is read", "err", err)
	} else {
		c.readAt = now
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for d, t := range c.tallies {
		if err != nil || !t.read || t.unread || c.activity.Of(d) {
			due = append(due, d)
		}
	}
	return due, len(c.tallies)
}

// readSome reads some taps now, one by one.
func (c *counters) readSome(taps []netns.Device) {
	for _, d := range taps {
		got, err := c.probe.Counters(d)
		c.take(d, &got, err)
	}
}

// take takes a reading, if hooks still are on the tap.
func (c *counters) take(d netns.Device, got *probe.Counters, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tallies[d]
	if t == nil {
		return
	}
	if errors.Is(err, probe.ErrNotAttached) && !t.unread { // perhaps they are just being swapped
		t.unread = true
		return
	}
	if err != nil {
		c.log.Warn("read counters: this tap's traffic is not seen", "netns", d.Netns, "err", err)
		return
	}
	t.read, t.unread = true, false
	if t.update(got, time.Now()) {
		c.show(d, t)
	}
}

// show hands on what a tap has counted.
func (c *counters) show(d netns.Device, t *tally) {
	is := t.counters()
	c.slots.TakeTraffic(d, t.traffic(), slots.Firsts{Frame: is.FirstReceive.Time(),
		ARPReply: is.FirstARPReply.Time(), SYNACK: is.FirstEnvdSYNACK.Time(), Guest: is.GuestAddr}, t.hidings.now())
}

// hooked notes that hooks are on a tap, for the first time or put back.
func (c *counters) hooked(d netns.Device) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tallies[d] == nil {
		c.tallies[d] = &tally{}
	}
	c.tallies[d].whole = ktime.Now()
}

// unhooked notes that the hooks of a tap are about to go, and returns what they had
// counted; nil: nobody knows.
func (c *counters) unhooked(d netns.Device) *path.Traffic {
	got, err := c.probe.Counters(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tallies[d]
	if t == nil {
		t = &tally{}
	}
	delete(c.tallies, d)
	if err == nil {
		t.update(&got, time.Now())
	}
	if t.created == 0 {
		return nil
	}
	c.retired.add(t.some)
	return t.traffic()
}

// latencies is the histogram of all taps that there are and were.
func (c *counters) latencies() latency {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := c.retired
	for _, t := range c.tallies {
		sum.add(t.some)
	}
	return sum
}

// latency is a histogram of SYN to SYN-ACK.
type latency struct {
	counts [probe.LatencyBuckets]uint64
	sum    time.Duration
}

// add adds what a tap has counted; nil: nothing.
func (l *latency) add(c *probe.Counters) {
	if c == nil {
		return
	}
	for i, n := range c.Latency {
		l.counts[i] += n
	}
	l.sum += c.LatencySum
}

// hearRefusals has a tap read as soon as its guest refuses a connection.
func (c *counters) hearRefusals(ctx context.Context, read *asker) {
	err := c.probe.Refusals(ctx, func(d netns.Device) { read.ask(slots.Key{Device: d}) })
	if err != nil {
		c.log.Warn("refusals are found by looking only", "err", err)
	}
}

// all returns the taps with hooks.
func (c *counters) all() []netns.Device {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.tallies))
}
