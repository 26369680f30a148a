package agent

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"tapwatch/agent/metrics"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/netns"
)

// What others read of the model. A view of a slot is made when something changes
// and then shared: ten thousand idle slots are not put together for every scrape.

// latency is a histogram of SYN to SYN-ACK.
type latency struct {
	counts [probe.LatencyBuckets]uint64
	sum    time.Duration
}

func (l *latency) add(c *probe.Counters) {
	for i, n := range c.Latency {
		l.counts[i] += n
	}
	l.sum += c.LatencySum
}

// views returns every slot as it is now, by name. They are shared: read them only.
func (m *model) views() []*path.Slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.order == nil {
		m.order = slices.SortedFunc(maps.Values(m.slots), func(a, b *slot) int {
			x, y := a.entry.Name, b.entry.Name
			return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y), cmp.Compare(a.entry.Cookie, b.entry.Cookie))
		})
	}
	now := time.Now()
	out := make([]*path.Slot, 0, len(m.order))
	for _, s := range m.order {
		if s.view == nil {
			s.view = &path.Slot{Facts: s.facts(now, m.proxy), Diagnosis: s.diagnosis}
		}
		out = append(out, s.view)
	}
	return out
}

// Slots returns every slot as it is now, by name.
func (m *model) Slots() []path.Slot {
	views := m.views()
	now := time.Now()
	out := make([]path.Slot, len(views))
	for i, v := range views {
		out[i] = *v
		out[i].Now = now
	}
	return out
}

// latencies is the histogram of all taps that there are and were.
func (m *model) latencies() latency {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.retired
	for _, s := range m.slots {
		if s.hooks != nil {
			sum.add(&s.hooks.counters)
		}
	}
	return sum
}

// bootTimes are the histograms of the phases of boots.
func (m *model) bootTimes() map[path.Phase]metrics.Histogram {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[path.Phase]metrics.Histogram, len(m.bootPhases))
	for p, h := range m.bootPhases {
		all[p] = h.histogram()
	}
	return all
}

// snapshot is what a scrape reads.
func (a *Agent) snapshot() metrics.Snapshot {
	sum, slots := a.model.latencies(), a.model.views()
	s := metrics.Snapshot{
		Slots:        slots,
		Gone:         a.model.goneViews(slots),
		Netlink:      a.links.Stats(),
		Attach:       map[string]metrics.Attach{},
		AttachErrors: a.model.hooker.failures(),
		Capabilities: map[string]bool{},
		EventsLost:   a.events.Lost(),
		TapConnect:   metrics.Histogram{Counts: sum.counts[:], Sum: sum.sum},
		BootPhases:   a.model.bootTimes(),
		Hops:         a.hops.stats,
	}
	a.health.results(&s)
	for i := range probe.LatencyBuckets - 1 {
		s.TapConnect.Bounds = append(s.TapConnect.Bounds, probe.LatencyBound(i))
	}
	for mode, m := range a.probe.Stats() {
		s.Attach[string(mode)] = metrics.Attach{Devices: m.Attached,
			Took: metrics.Histogram{Bounds: probe.AttachBounds, Counts: m.Took, Sum: m.Sum}}
	}
	for _, c := range a.probe.Capabilities() {
		s.Capabilities[c.Name] = c.Have
	}
	for name, lack := range a.lacks {
		s.Capabilities[name] = lack == nil
	}
	s.Capabilities["vmm_exits"] = a.vmms.exits != nil
	s.Capabilities["hop_latency"] = a.hops.flow != nil
	maps.Copy(s.Capabilities, a.privileges)
	return s
}

// ready is nil once the links of every slot were read.
func (m *model) ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.slots {
		if !s.links && s.entry.NSID != netns.NoNSID {
			return errors.New("the links of some namespaces have not been read yet")
		}
	}
	return nil
}
