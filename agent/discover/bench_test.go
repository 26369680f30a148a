package discover

import (
	"context"
	"testing"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// BenchmarkScanNames is a look at 200 names that are known.
func BenchmarkScanNames(b *testing.B) {
	w := start(b, Config{})
	for range 200 {
		nettest.Netns(b)
	}
	n := newNames(w.conn, w.Self())
	if err := n.scan(time.Now()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := n.scan(time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(n.bound)), "names")
}

// BenchmarkMerge puts 10,000 idle slots and their owners together, in which
// nothing has changed, or nothing but a name.
func BenchmarkMerge(b *testing.B) {
	w, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	w.names, w.self = newNames(nil, 1), 1
	for i := range 10_000 {
		w.names.bound[e2b.NamespaceName(i+1)] = place{cookie: netns.Cookie(i + 2), inode: uint64(i + 2), nsid: netns.NSID(i)}
	}
	go func() {
		for range w.Changes() {
		}
	}()
	for name, changed := range map[string]bool{"settled": false, "names": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w.names.changed = changed
				w.merge(context.Background())
			}
		})
	}
}
