package link

import (
	"slices"
	"testing"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// BenchmarkCarrierLoss is the time from a tap's close to its Change.
// -benchtime 20x gives the median of 20 that is promised to be below 50 ms.
func BenchmarkCarrierLoss(b *testing.B) {
	w := start(b, Config{}, true)
	nettest.Eventually(b, "in sync", func() bool { return w.Stats().Synced })
	ns := nettest.Netns(b)
	nettest.Tap(b, ns, "tap0")
	c := w.add(ns)
	next := func(ok func(*Link) bool) Change {
		for {
			if change := <-w.Changes(); change.Key().Netns == c && change.New != nil && change.New.Name == "tap0" && ok(change.New) {
				return change
			}
		}
	}
	var took []time.Duration
	for range b.N {
		vmm := nettest.AttachTap(b, ns, "tap0")
		next(func(l *Link) bool { return l.Carrier == Up })
		closed := time.Now()
		vmm.Close()
		next(func(l *Link) bool { return l.Carrier == Down })
		took = append(took, time.Since(closed))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms/max")
}

// BenchmarkResync is a full dump of 200 namespaces with a tap each, in which
// nothing has changed.
func BenchmarkResync(b *testing.B) {
	w := start(b, Config{Audit: 1}, false)
	for range 200 {
		ns := nettest.Netns(b)
		nettest.Tap(b, ns, "tap0")
		w.until(w.add(ns), "tap0", "found", isDown)
	}
	for b.Loop() {
		n := w.Stats().Resyncs
		for w.Stats().Resyncs == n {
			time.Sleep(100 * time.Microsecond)
		}
	}
	b.ReportMetric(float64(w.Stats().ResyncTook.Microseconds())/1000, "ms/resync")
}

// BenchmarkSnapshot is what a scrape pays after a change: 20,000 links.
func BenchmarkSnapshot(b *testing.B) {
	tab := newTable()
	for i := range 10_000 {
		ns := tab.bind(netns.NSID(i), netns.Cookie(i+1))
		tab.put(ns, Link{Ifindex: 1, Name: "lo"}, time.Time{}, true)
		tab.put(ns, Link{Ifindex: 2, Name: "tap0"}, time.Time{}, true)
	}
	for b.Loop() {
		tab.snapshot = nil
		tab.all()
	}
}
