package network

import (
	"slices"
	"testing"
	"time"

	"tapwatch/internal/registry"
)

// poolSize is E2B's.
const poolSize = 32

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

// A launcher's start and end: a whole pool made, and removed again.
func BenchmarkPool(b *testing.B) {
	first := freeSlot(b).Index
	var fill, empty time.Duration
	for b.Loop() {
		start := time.Now()
		p, err := NewPool(PoolConfig{Registry: registry.Dir(b.TempDir()), Idle: poolSize, First: first})
		if err != nil {
			b.Fatal(err)
		}
		for p.Idle() < poolSize {
			time.Sleep(time.Millisecond)
		}
		fill += time.Since(start)
		start = time.Now()
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
		empty += time.Since(start)
	}
	b.ReportMetric(float64(fill.Milliseconds())/float64(b.N), "ms/fill")
	b.ReportMetric(float64(empty.Milliseconds())/float64(b.N), "ms/close")
}
