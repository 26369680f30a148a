package link

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// BenchmarkCarrierLoss is the time from a tap's close to its Change.
// -benchtime 20x gives the median of 20 that is promised to be below 50 ms.
func BenchmarkCarrierLoss(b *testing.B) {
	ns := nettest.Netns(b)
	carrierLoss(b, start(b, Config{}, true), ns)
}

// BenchmarkCarrierLossOwn is the same for a tap among 2,000 in the agent's own
// namespace.
func BenchmarkCarrierLossOwn(b *testing.B) {
	own := nettest.Netns(b)
	w := startIn(b, own, Config{Backlog: 100_000}, true)
	nettest.In(b, own, func() error { return makeTapsFrom(1, 2000) })
	carrierLoss(b, w, own)
}

func carrierLoss(b *testing.B, w *watch, ns string) {
	nettest.Eventually(b, "in sync", func() bool { return w.Stats().Synced })
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

// BenchmarkResyncOwnTaps is a full dump of the agent's own namespace with 2,000
// taps on it, in which nothing has changed, and what its readers pay then.
func BenchmarkResyncOwnTaps(b *testing.B) {
	const taps = 2000
	own := nettest.Netns(b)
	makeTaps(b, own, taps)
	w := startIn(b, own, Config{Audit: 1, rarely: 1}, false)
	c := w.add(own)
	if ls, known := w.Taps(c); !known || len(ls) != taps {
		b.Fatalf("%d taps found", len(ls))
	}
	for b.Loop() {
		n := w.Stats().Resyncs
		for w.Stats().Resyncs == n {
			time.Sleep(100 * time.Microsecond)
		}
	}
	b.ReportMetric(float64(w.Stats().ResyncTook.Microseconds())/1000, "ms/resync")
}

// fleet is a table as a host with 10,000 slots and 2,000 taps of its own has it.
func fleet(b *testing.B) *table {
	tab := newTable()
	mac := attr(unix.IFLA_ADDRESS, 2, 0xfc, 0, 0, 0, 6)
	veth := nested(unix.IFLA_LINKINFO, words(unix.IFLA_INFO_KIND, "veth")...)
	put := func(ns *namespace, index uint32, name string, info []byte) {
		l, err := parseLink(body(unix.AF_UNSPEC, index, 1, words(unix.IFLA_IFNAME, name), attr(unix.IFLA_CARRIER, 1), mac, info))
		if err != nil {
			b.Fatal(err)
		}
		tab.put(ns, l, time.Time{}, true)
	}
	host := tab.bind(0, 1)
	put(host, 1, "lo", nil)
	for i := range uint32(10_000) {
		ns := tab.bind(netns.NSID(i+1), netns.Cookie(i+2))
		put(ns, 1, "lo", nil)
		put(ns, 2, "tap0", tunInfo(unix.IFF_TAP, 1, 0, 1))
		put(ns, 3, "eth0", veth)
		put(host, i+2, fmt.Sprintf("veth-%d", i), veth)
	}
	for i := range uint32(2000) {
		put(host, 20_000+i, fmt.Sprintf("vnet%d", i), tunInfo(unix.IFF_TAP, 1, 0, 1))
	}
	return tab
}

// BenchmarkMemory is what is kept of 10,000 slots and 2,000 taps in the host's
// namespace: 42,001 links.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	var tab *table
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		tab = fleet(b)
		runtime.GC()
		runtime.ReadMemStats(&after)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
	runtime.KeepAlive(tab)
}

// BenchmarkTaps reads the taps of the host's namespace, then those of one slot.
func BenchmarkTaps(b *testing.B) {
	tab := fleet(b)
	for what, read := range map[string]func() int{
		"host": func() int { ls, _ := tab.taps(1); return len(ls) - 1999 },
		"slot": func() int { ls, _ := tab.taps(7000); return len(ls) },
	} {
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				if read() != 1 {
					b.Fatal("not found")
				}
			}
		})
	}
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
