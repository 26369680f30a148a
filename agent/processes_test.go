package agent

import (
	"os"
	"testing"
	"time"
)

// TestProcessesAreReadAsOftenAsIsCheap: files run out of one that serves many
// slots, or of a proxy, before connections wait for it.
func TestProcessesAreReadAsOftenAsIsCheap(t *testing.T) {
	t.Parallel()
	self, start := os.Getpid(), time.Unix(1000, 0)
	var p processes
	read := func(second int, trouble bool) (at int) {
		p.begin(start.Add(time.Duration(second) * time.Second))
		for pid, one := range p.known {
			if pid != self {
				one.used = p.now
			}
		}
		p.of(self, trouble)
		return int(p.known[self].read.Sub(start) / time.Second)
	}
	if at := read(0, false); at != 0 {
		t.Errorf("the first reading is of second %d", at)
	}
	if at := read(3, false); at != 3 {
		t.Errorf("one of few is of second %d at second 3", at)
	}
	for pid := range processesAtOnce {
		p.known[-1-pid] = &process{used: p.now}
	}
	for _, c := range []struct {
		second  int
		trouble bool
		want    int
	}{{6, false, 3}, {9, true, 9}, {12, false, 9}, {40, false, 40}} {
		if at := read(c.second, c.trouble); at != c.want {
			t.Errorf("one of many is of second %d at second %d, trouble %v: want %d", at, c.second, c.trouble, c.want)
		}
	}
}
