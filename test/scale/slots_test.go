package scale

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"
)

const (
	// settleFor is how long after all is known the last work of a start is done: half
	// a minute later it is looked for counters of devices that are gone.
	settleFor = 35 * time.Second
	// idleFor is how long the agent's CPU is measured while nothing happens: most of
	// what is done now and then is done in that time.
	idleFor = 45 * time.Second
	// idleTimes is how often it is measured: others on the machine give the agent work.
	idleTimes = 3
)

// BenchmarkSlots measures the agent on a host with so many slots: how long until
// it has the whole picture, what it takes, and what a scrape costs. Some hosts have taps
// in the agent's own namespace too, every other one on a bridge.
func BenchmarkSlots(b *testing.B) {
	bin := build(b)
	for _, n := range []struct{ slots, bound, host int }{{1_000, 0, 0}, {1_000, 1_000, 0}, {10_000, 1_000, 0}, {8_000, 1_000, 2_000}} {
		name := fmt.Sprintf("%d-%dbound", n.slots, n.bound)
		if n.host > 0 {
			name += fmt.Sprintf("-%dhost", n.host)
		}
		b.Run(name, func(b *testing.B) {
			f := makeFleet(b, n.slots, n.bound)
			f.addHostTaps(b, n.host)
			for b.Loop() {
				measure(b, bin, f)
			}
		})
	}
}

func measure(b *testing.B, bin string, f *fleet) {
	w := watch(b, bin, f.dir, "--probe-silent", "0") // nobody answers here
	synced := w.until("ready", w.ready)
	startCPU := w.cpu()
	hooked := w.hookedAll(f.n + f.host)
	b.ReportMetric(synced.Seconds(), "synced-s")
	b.ReportMetric(startCPU.Seconds(), "synced-cpu-s")
	b.ReportMetric(hooked.Seconds(), "hooked-s")
	time.Sleep(synced + settleFor - hooked)
	reportIdle(b, w)
	b.ReportMetric(w.status("VmRSS")/1024, "rss-idle-MB")
	scrape(b, w, "", false)
	scrape(b, w, "gzip-", true)
	b.ReportMetric(w.status("VmRSS")/1024, "rss-MB")
	b.ReportMetric(w.status("VmHWM")/1024, "rss-peak-MB")
	b.ReportMetric(w.status("Threads"), "threads")
	b.ReportMetric(float64(w.fds()), "fds")
	b.ReportMetric(w.sum("go_goroutines"), "goroutines")
	w.p.Kill() // the hooks go with their namespaces
}

// reportIdle reports what the agent takes while nothing happens: the median and the least.
func reportIdle(b *testing.B, w *watcher) {
	var used []float64
	for range idleTimes {
		before := cpuOf(b, w.pid())
		time.Sleep(idleFor)
		used = append(used, 100*(cpuOf(b, w.pid())-before).Seconds()/idleFor.Seconds())
	}
	slices.Sort(used)
	b.ReportMetric(used[len(used)/2], "idle-cpu-%")
	b.ReportMetric(used[0], "idle-cpu-least-%")
}

// scrape reports the median of 11 scrapes, and the size of one.
func scrape(b *testing.B, w *watcher, prefix string, gzip bool) {
	var took []time.Duration
	body := make([]byte, 0, 16<<20) // what a reader's own growing memory costs is no part of it
	for range 11 {
		var d time.Duration
		body, _, d = w.getInto(body[:0], "/metrics", gzip)
		took = append(took, d)
		time.Sleep(1100 * time.Millisecond) // another reading of the counters lies between
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, prefix+"scrape-ms")
	b.ReportMetric(float64(len(body))/1e6, prefix+"scrape-MB")
	if !gzip {
		b.ReportMetric(float64(bytes.Count(body, []byte("\n"))), "lines")
	}
}
