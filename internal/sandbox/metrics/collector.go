package metrics

import (
	"cmp"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"tapwatch/internal/sandbox/stream"
)

// Layer is what one hop of the data path has counted.
type Layer struct {
	Name      string // proxy, relay
	BySandbox map[string]stream.Stats
	Gone      stream.Stats // of sandboxes that are no more
}

// Collector exports hops as they are when it is asked.
type Collector struct {
	Layers func() []Layer
	// Detail tells of each sandbox too, up to 60 series of it.
	Detail bool
}

// Describe implements prometheus.Collector.
func (c Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, k := range kinds {
		for _, d := range []*prometheus.Desc{k.all, k.each, k.oldAll, k.oldEach} {
			if d != nil {
				ch <- d
			}
		}
	}
}

// Collect implements prometheus.Collector. The series of a sandbox go with it;
// those over all sandboxes never count backwards.
func (c Collector) Collect(ch chan<- prometheus.Metric) {
	for _, l := range c.Layers() {
		var sum stream.Stats
		sum.Add(l.Gone)
		for id, s := range l.BySandbox {
			sum.Add(s)
			if c.Detail {
				emitter{ch, func(k kind) []*prometheus.Desc { return []*prometheus.Desc{k.each, k.oldEach} }, summary}.stats(s, id, l.Name)
			}
		}
		emitter{ch, func(k kind) []*prometheus.Desc { return []*prometheus.Desc{k.all, k.oldAll} }, histogram}.stats(sum, l.Name)
	}
}

// emitter sends what was counted by its new names and its old ones.
type emitter struct {
	ch    chan<- prometheus.Metric
	names func(kind) []*prometheus.Desc
	times func(*prometheus.Desc, stream.Histogram, ...string) prometheus.Metric
}

func (e emitter) stats(s stream.Stats, labels ...string) {
	with := func(last string) []string { return append(labels[:len(labels):len(labels)], last) }
	e.value(connectionsOpen, prometheus.GaugeValue, s.Open, labels...)
	e.value(connectionsOpened, prometheus.CounterValue, s.Connect.Count, labels...)
	e.value(transmitBytes, prometheus.CounterValue, s.Bytes[stream.Client], labels...)
	e.value(receiveBytes, prometheus.CounterValue, s.Bytes[stream.Backend], labels...)
	for why, n := range s.Ended {
		e.value(connectionsEnded, prometheus.CounterValue, n, with(why.String())...)
	}
	errnos := map[string]int64{} // those without a name are one
	for errno, n := range s.DialErrors {
		errnos[errnoName(errno)] += n
	}
	for name, n := range errnos {
		e.value(dialErrors, prometheus.CounterValue, n, with(name)...)
	}
	e.send(connect, func(d *prometheus.Desc) prometheus.Metric { return e.times(d, s.Connect, labels...) })
	e.send(firstByte, func(d *prometheus.Desc) prometheus.Metric { return e.times(d, s.FirstByte, labels...) })
	for _, side := range []stream.Side{stream.Client, stream.Backend} {
		k := s.Kernel[side]
		e.send(rtt, func(d *prometheus.Desc) prometheus.Metric {
			return summary(d, stream.Histogram{Count: k.Legs, Sum: k.RTT}, with(side.String())...)
		})
		e.value(retransmits, prometheus.CounterValue, k.Retransmits, with(side.String())...)
	}
}

func (e emitter) send(k kind, metric func(*prometheus.Desc) prometheus.Metric) {
	for _, d := range e.names(k) {
		if d != nil {
			e.ch <- metric(d)
		}
	}
}

func (e emitter) value(k kind, typ prometheus.ValueType, n int64, labels ...string) {
	e.send(k, func(d *prometheus.Desc) prometheus.Metric {
		return prometheus.MustNewConstMetric(d, typ, float64(n), labels...)
	})
}

func errnoName(e syscall.Errno) string { return cmp.Or(unix.ErrnoName(e), "other") }

// summary has no quantiles: those are in the histograms over all sandboxes.
func summary(d *prometheus.Desc, h stream.Histogram, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstSummary(d, uint64(h.Count), h.Sum.Seconds(), nil, labels...)
}

func histogram(d *prometheus.Desc, h stream.Histogram, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(h.Buckets))
	var below uint64
	for i, n := range h.Buckets[:len(h.Buckets)-1] { // the last has no bound
		below += uint64(n)
		buckets[h.Bound(i).Seconds()] = below
	}
	return prometheus.MustNewConstHistogram(d, uint64(h.Count), h.Sum.Seconds(), buckets, labels...)
}
