package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// overheadMiB is what a VMM takes besides its guest's memory.
	overheadMiB = 48
	// retryRoom is when it is worth trying again where sandboxes have to end first.
	retryRoom = 10 * time.Second
)

// room is what sandboxes may take in all. A sandbox has its part from before it is
// made until nothing of it remains.
type room struct {
	sandboxes, perOwner int // at most; 0: any number
	memoryMiB           int // at most; 0: not known

	mu      sync.Mutex
	taken   int
	owners  map[string]int
	usedMiB int
}

// take reserves a part for a sandbox of an owner, and returns how to give it back.
func (r *room) take(owner string, memoryMiB int) (leave func(), err error) {
	memoryMiB += overheadMiB
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.perOwner > 0 && r.owners[owner] >= r.perOwner:
		return nil, &BusyError{Why: fmt.Sprintf("this API key has %d sandboxes already, as many as it may: kill one first", r.perOwner), Quota: true, Retry: retryRoom}
	case r.sandboxes > 0 && r.taken >= r.sandboxes:
		return nil, &BusyError{Why: fmt.Sprintf("there are %d sandboxes already, as many as this launcher has", r.sandboxes), Retry: retryRoom}
	case r.memoryMiB > 0 && r.usedMiB+memoryMiB > r.memoryMiB:
		return nil, &BusyError{Why: fmt.Sprintf("the host has no memory left for another sandbox: %d MiB of %d are promised to %d", r.usedMiB, r.memoryMiB, r.taken), Retry: retryRoom}
	}
	r.taken++
	r.usedMiB += memoryMiB
	r.owners[owner]++
	var once sync.Once
	return func() {
		once.Do(func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.taken--
			r.usedMiB -= memoryMiB
			if r.owners[owner]--; r.owners[owner] == 0 {
				delete(r.owners, owner)
			}
		})
	}, nil
}

// memoryForSandboxes is nine tenths of the host's memory, in MiB; 0: not known.
func memoryForSandboxes() int {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int
		if rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:"); ok {
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				return 0
			}
			return kib / 1024 * 9 / 10
		}
	}
	return 0
}
