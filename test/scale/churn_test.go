package scale

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// TestNothingIsLeft is TestSoak in short.
func TestNothingIsLeft(t *testing.T) { soak(t, 120, 60) }

// footprint is what an agent holds.
type footprint struct {
	fds, threads, goroutines, entries, series int
	rss, heap                                 float64 // MB
}

func (f footprint) String() string {
	return fmt.Sprintf("%d fds, %d threads, %d goroutines, %d map entries, %d series, rss %.1f MB, heap %.1f MB",
		f.fds, f.threads, f.goroutines, f.entries, f.series, f.rss, f.heap)
}

// othersTaps are those that are in no namespace from ns-1 to ns-999, such as the slots
// here: other tests on this machine make taps at the same time.
const othersTaps = `netns=[^n]*;netns=n[^s]*;netns=ns[^\-]*;netns=ns-????*`

// soak makes and removes slots while an agent runs, by the batch, half of them
// bound. What it holds afterwards is what it held after the first batch.
func soak(t *testing.T, slots, batch int) {
	t.Helper()
	w := watch(t, build(t), runDir(t), "--series-grace", "1s", "--ignore", othersTaps)
	w.until("ready", w.ready)
	var first, last footprint
	for made := 0; made < slots; made += batch {
		t.Run(strconv.Itoa(made), func(t *testing.T) { churn(t, w, batch) })
		last = w.footprint()
		t.Logf("after %d slots: %s", made+batch, last)
		if made == 0 {
			first = last
		}
	}
	for _, c := range []struct {
		what        string
		first, last float64
		slack       float64
	}{
		{"fds", float64(first.fds), float64(last.fds), 1}, // of this test's own connection
		{"threads", float64(first.threads), float64(last.threads), 6},
		{"goroutines", float64(first.goroutines), float64(last.goroutines), 2},
		{"map entries", float64(first.entries), float64(last.entries), 0},
		{"series", float64(first.series), float64(last.series), 5}, // reasons of failed attachments
		{"rss", first.rss, last.rss, 0.25 * first.rss},
		{"heap", first.heap, last.heap, 10}, // what lies between two collections
	} {
		if c.last > c.first+c.slack {
			t.Errorf("%s: %g after the first batch, %g after the last", c.what, c.first, c.last)
		}
	}
}

// churn makes a batch of slots, sees the agent know them all, and removes them.
func churn(t *testing.T, w *watcher, batch int) {
	f := makeFleetIn(t, w.dir, batch, batch/2)
	w.until("all are known and hooked", func() bool {
		return w.sum("tapwatch_slots") == float64(batch) && w.sum("tapwatch_probe_attached") == float64(batch)
	})
	for i := range f.taps { // some taps flap
		if i%3 == 0 {
			f.taps[i].Close()
		}
	}
	f.remove(t)
	w.until("all are gone", func() bool {
		return w.sum("tapwatch_slots") == 0 && w.sum("tapwatch_probe_attached") == 0 && w.entries() == 0
	})
}

// footprint is taken after the agent has come to rest.
func (w *watcher) footprint() footprint {
	time.Sleep(3 * time.Second)
	body, _, _ := w.get("/metrics", false)
	return footprint{
		fds: w.fds(), threads: int(w.status("Threads")), goroutines: int(sumOf(body, "go_goroutines")),
		entries: w.entries(), series: bytes.Count(body, []byte("\ntapwatch_")),
		rss: w.status("VmRSS") / 1024, heap: sumOf(body, "go_memstats_heap_alloc_bytes") / 1e6,
	}
}

// entries counts what is in the agent's map of taps.
func (w *watcher) entries() (n int) {
	w.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", w.pid()))
	if err != nil {
		w.t.Fatal(err)
	}
	seen := map[int64]bool{}
	for _, file := range files {
		id, err := field(file, "map_id")
		if err != nil || seen[id] {
			continue
		}
		seen[id] = true
		m, err := ebpf.NewMapFromID(ebpf.MapID(id))
		if err != nil {
			w.t.Fatal(err)
		}
		defer m.Close()
		if info, err := m.Info(); err != nil || !strings.HasPrefix(info.Name, "taps") {
			continue
		}
		var key, value []byte
		for it := m.Iterate(); it.Next(&key, &value); {
			n++
		}
	}
	return n
}
