package scale

import (
	"testing"
	"time"
)

// BenchmarkRestart restarts the agent of 1,000 slots while a guest sends frames.
// gap-ms is for how long, from the signal on, they went by uncounted; hooked-s how
// long the new agent took until it had hooks on all taps.
func BenchmarkRestart(b *testing.B) {
	bin := build(b)
	for _, how := range []string{"killed", "ended"} {
		b.Run(how, func(b *testing.B) {
			for b.Loop() {
				restart(b, bin, how == "killed")
			}
		})
	}
}

func restart(b *testing.B, bin string, kill bool) {
	const slots = 1000
	f, w, g := begin(b, bin, slots)
	atSignal, signalled := g.sent.Load(), time.Now()
	before := atSignal
	if kill {
		before = 0 // what was counted before is counted on
		w.p.Kill()
	} else {
		w.p.Stop(b)
	}
	w = watch(b, bin, f.dir, "--attach-mode", "tc")
	w.hooked(slots)
	b.ReportMetric(time.Since(w.began).Seconds(), "hooked-s")
	sent, took := g.stop(), time.Since(signalled)
	uncounted := float64(sent-before) - w.settled()
	b.ReportMetric(uncounted, "gap-frames")
	b.ReportMetric(uncounted*float64(took.Milliseconds())/float64(sent-atSignal), "gap-ms")
	w.p.Stop(b)
}

// settled returns the count once nothing comes to it any more.
func (w *watcher) settled() (counted float64) {
	for last := -1.0; counted != last || counted == 0; {
		last = counted
		time.Sleep(2500 * time.Millisecond) // twice the time between two readings
		counted, _, _ = w.received()
	}
	return counted
}
