package network

import (
	"slices"
	"testing"
	"time"
)

// The median is reported: a namespace now and then waits for another's clean-up.
func BenchmarkCreateSlot(b *testing.B) {
	benchmark(b, func(s Slot) time.Duration {
		start := time.Now()
		if err := Create(s); err != nil {
			b.Fatal(err)
		}
		took := time.Since(start)
		if err := Remove(s); err != nil {
			b.Fatal(err)
		}
		return took
	})
}

func BenchmarkRemoveSlot(b *testing.B) {
	benchmark(b, func(s Slot) time.Duration {
		if err := Create(s); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := Remove(s); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	})
}

func benchmark(b *testing.B, once func(Slot) time.Duration) {
	s := freeSlot(b)
	var took []time.Duration
	for b.Loop() {
		took = append(took, once(s))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/median")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "ms/p95")
}
