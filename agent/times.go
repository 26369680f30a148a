package agent

import (
	"slices"
	"time"

	"tapwatch/agent/metrics"
)

// times is a histogram; its upper bounds are given.
type times struct {
	bounds []time.Duration
	counts []uint64 // one more than bounds
	sum    time.Duration
}

func newTimes(bounds []time.Duration) *times {
	return &times{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

func (t *times) observe(d time.Duration) {
	i, _ := slices.BinarySearch(t.bounds, d)
	t.counts[i]++
	t.sum += d
}

// histogram is a copy for the metrics.
func (t *times) histogram() metrics.Histogram {
	return metrics.Histogram{Bounds: t.bounds, Counts: slices.Clone(t.counts), Sum: t.sum}
}
