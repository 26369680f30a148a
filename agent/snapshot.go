package agent

import (
	"maps"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/metrics"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/slots"
)

// snapshot is what a scrape reads.
func (a *Agent) snapshot() metrics.Snapshot {
	sum, views := a.counters.latencies(), a.slots.Views()
	s := metrics.Snapshot{
		Slots:        views,
		Gone:         a.slots.Gone(views),
		Netlink:      a.links.Stats(),
		Attach:       map[string]metrics.Attach{},
		AttachErrors: a.hooker.failures(),
		EventsLost:   a.events.Lost(),
		TapConnect:   metrics.Histogram{Counts: sum.counts[:], Sum: sum.sum},
		BootPhases:   map[path.Phase]metrics.Histogram{},
		Hops:         a.hops.stats,
	}
	for p, h := range a.slots.BootTimes() {
		s.BootPhases[p] = histogram(h)
	}
	a.health.results(&s)
	for i := range probe.LatencyBuckets - 1 {
		s.TapConnect.Bounds = append(s.TapConnect.Bounds, probe.LatencyBound(i))
	}
	for mode, m := range a.probe.Stats() {
		s.Attach[string(mode)] = metrics.Attach{Devices: m.Attached,
			Took: metrics.Histogram{Bounds: probe.AttachBounds, Counts: m.Took, Sum: m.Sum}}
	}
	var err error
	if s.PathDrops, err = a.pathDrops(); err != nil {
		a.cfg.Log.Debug("what the kernel drops is not known", "err", err)
	}
	s.Detail, s.Counted, s.Collectors = a.cfg.MetricsDetail, counted(a.slots.Happened()), a.collections.all()
	if n := s.Netlink; !n.Resynced.IsZero() {
		s.Collectors["links"] = metrics.Collected{Success: n.Resynced, Took: n.ResyncTook}
	}
	s.Capabilities = a.capabilities()
	s.Levels = a.Levels()
	return s
}

// pathDrops is what the kernel dropped of all paths; nil: unknown.
func (a *Agent) pathDrops() (map[metrics.Dropped]uint64, error) {
	sums, err := a.probe.PathDropSums()
	if err != nil {
		return nil, err
	}
	all := make(map[metrics.Dropped]uint64, len(sums))
	for kind, n := range sums {
		direction := "transmit"
		if kind.Back {
			direction = "receive"
		}
		all[metrics.Dropped{Direction: direction, Reason: kind.Reason}] = n
	}
	return all, nil
}

// counted is what slots counted, as the metrics have it: every check's findings are
// there from the start.
func counted(c slots.Happened) metrics.Counted {
	for _, check := range diagnose.Checks {
		c.Found[check.Code] += 0
		c.Cleared[check.Code] += 0
	}
	exits := make(map[metrics.Exit]uint64, len(c.Exits))
	for x, n := range c.Exits {
		exits[metrics.Exit(x)] = n
	}
	return metrics.Counted{Found: c.Found, Cleared: c.Cleared, States: c.States, Created: c.Created, Ended: c.Ended, Failed: c.Failed, BootFailures: c.BootFailures, Exits: exits}
}

// capabilities says what this kernel, these privileges and this container allow.
func (a *Agent) capabilities() map[string]bool {
	all := map[string]bool{"vmm_exits": a.vmms.exits != nil, "hop_latency": a.hops.flow != nil}
	for _, c := range a.probe.Capabilities() {
		all[c.Name] = c.Have
	}
	for name, lack := range a.lacks {
		all[name] = lack == nil
	}
	maps.Copy(all, a.privileges)
	return all
}
