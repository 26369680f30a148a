package metrics

import (
	"cmp"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"tapwatch/internal/sandbox/stream"
)

// Layer is what one layer of the data path has counted.
type Layer struct {
	Name      string // proxy, relay
	BySandbox map[string]stream.Stats
	Gone      stream.Stats // of sandboxes that are no more
}

// Collector exports layers as they are when it is asked.
type Collector struct {
	Layers func() []Layer
}

// Describe implements prometheus.Collector.
func (c Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range all {
		ch <- d
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
			collectSandbox(ch, s, id, l.Name)
		}
		ch <- histogram(connectAll, sum.Connect, l.Name)
		ch <- histogram(firstByteAll, sum.FirstByte, l.Name)
	}
}

func collectSandbox(ch chan<- prometheus.Metric, s stream.Stats, labels ...string) {
	with := func(last string) []string { return append(labels[:len(labels):len(labels)], last) }
	gauge(ch, connectionsOpen, s.Open, labels...)
	counter(ch, connectionsOpened, float64(s.Connect.Count), labels...)
	counter(ch, transmitBytes, float64(s.Bytes[stream.Client]), labels...)
	counter(ch, receiveBytes, float64(s.Bytes[stream.Backend]), labels...)
	for why, n := range s.Ended {
		counter(ch, connectionsEnded, float64(n), with(why.String())...)
	}
	for errno, n := range s.DialErrors {
		counter(ch, dialErrors, float64(n), with(errnoName(errno))...)
	}
	summary(ch, connectSum, s.Connect.Count, s.Connect.Sum.Seconds(), labels...)
	summary(ch, firstByteSum, s.FirstByte.Count, s.FirstByte.Sum.Seconds(), labels...)
	for _, side := range []stream.Side{stream.Client, stream.Backend} {
		k := s.Kernel[side]
		summary(ch, rttSum, k.Legs, k.RTT.Seconds(), with(side.String())...)
		counter(ch, retransmits, float64(k.Retransmits), with(side.String())...)
	}
}

func errnoName(e syscall.Errno) string { return cmp.Or(unix.ErrnoName(e), "other") }

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, n int64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

// summary has no quantiles: those are in the histograms over all sandboxes.
func summary(ch chan<- prometheus.Metric, d *prometheus.Desc, n int64, sum float64, labels ...string) {
	ch <- prometheus.MustNewConstSummary(d, uint64(n), sum, nil, labels...)
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
