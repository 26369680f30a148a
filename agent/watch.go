package agent

import (
	"context"
	"time"

	"tapwatch/agent/link"
	"tapwatch/agent/metrics"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
)

// holdersDelay gathers the changes of many taps into one reading of all holders.
const holdersDelay = 10 * time.Millisecond

// holdersEvery is how often holders are read while a bound tap has no carrier:
// that a VMM elsewhere took another tap tells nobody.
const holdersEvery = 5 * time.Second

// watch is the one goroutine that changes the model.
func (a *Agent) watch(ctx context.Context) error {
	tick := time.NewTicker(a.cfg.Every)
	defer tick.Stop()
	holders := time.NewTimer(0)
	defer holders.Stop()
	var readAt time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case c, ok := <-a.discover.Changes():
			if !ok {
				return nil
			}
			a.model.namespaceChanged(c)
			if c.New != nil {
				a.links.AddNamespace(c.New.NSID)
			}
			holders.Reset(holdersDelay)
		case c, ok := <-a.links.Changes():
			if !ok {
				return nil
			}
			a.linkChanged(c, holders)
		case <-holders.C:
			readAt = time.Now()
			a.model.readHolders(readAt)
		case now := <-tick.C:
			a.model.observe(now, a.cfg.Proxy)
			a.model.prune(now, a.Ready() == nil)
			if now.Sub(readAt) > holdersEvery && a.model.suspicious() {
				a.discover.Rescan()
				holders.Reset(0)
			}
		}
	}
}

// linkChanged passes a link's change on. Behind a change of a tap there may be a
// VMM that came or went, so processes are looked at too.
func (a *Agent) linkChanged(c link.Change, holders *time.Timer) {
	if a.model.linkChanged(c) {
		a.discover.Rescan()
		holders.Reset(holdersDelay)
	}
}

// suspicious reports whether a bound slot has no carrier.
func (m *model) suspicious() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.slots {
		if !s.entry.Binding.Idle && s.tap != nil && carrierOf(s.tap) == path.No {
			return true
		}
	}
	return false
}

// snapshot is what a scrape reads.
func (a *Agent) snapshot() metrics.Snapshot {
	sum, attached := a.model.latencies()
	s := metrics.Snapshot{
		Slots:        a.model.Slots(),
		Netlink:      a.links.Stats(),
		Attached:     attached,
		AttachErrors: a.model.attachFailures(),
		Capabilities: map[string]bool{},
		EventsLost:   a.events.Lost(),
		TapLatency:   metrics.Histogram{Counts: sum.counts[:], Sum: sum.sum},
	}
	for i := range probe.LatencyBuckets - 1 {
		s.TapLatency.Bounds = append(s.TapLatency.Bounds, probe.LatencyBound(i))
	}
	for _, c := range a.probe.Capabilities() {
		s.Capabilities[c.Name] = c.Have
	}
	return s
}
