package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	demandEvery = 250 * time.Millisecond
	// idleDemand is how much of a CPU a guest asks for that no longer boots, or never
	// will: one that waits for something.
	idleDemand = 0.2
)

// untilIdle returns when a process has asked for little CPU in two looks, or stop is
// closed. Where the kernel does not say it waits for stop.
func untilIdle(pid int, stop <-chan struct{}) {
	tick := time.NewTicker(demandEvery)
	defer tick.Stop()
	last, known := demandOf(pid)
	for idle := 0; idle < 2; {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now, ok := demandOf(pid)
		if known && ok && float64(now-last) < idleDemand*float64(demandEvery) {
			idle++
		} else {
			idle = 0
		}
		last, known = now, ok
	}
}

// demandOf is how long a process's threads have run, or waited to run, in all: so a
// guest that others keep from running is not taken for an idle one.
func demandOf(pid int) (sum time.Duration, known bool) {
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	if err != nil {
		return 0, false
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended since
		}
		var ran, waited time.Duration
		if _, err := fmt.Sscan(string(b), &ran, &waited); err != nil {
			return 0, false
		}
		sum, known = sum+ran+waited, true
	}
	return sum, known
}
