package relay

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree is a process and its descendants; 0 has none.
func tree(pid int) []int {
	if pid == 0 {
		return nil
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, f := range files {
			b, _ := os.ReadFile(f) // a thread that has ended has none
			for _, child := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(child); err == nil {
					pids = append(pids, n)
				}
			}
		}
	}
	return pids
}

// cpuTime is what the threads of a process and of its descendants have used.
func cpuTime(pid int) (sum time.Duration) {
	for _, p := range tree(pid) {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			if words := bytes.Fields(b); len(words) > 0 {
				ns, _ := strconv.ParseInt(string(words[0]), 10, 64)
				sum += time.Duration(ns)
			}
		}
	}
	return sum
}

// memory is what a process and its descendants have to themselves, in bytes:
// what they share is counted once.
func memory(t testing.TB, pid int) (sum int64) {
	t.Helper()
	for _, p := range tree(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if words := strings.Fields(line); words[0] == "Pss:" {
				kib, err := strconv.ParseInt(words[1], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				sum += kib << 10
			}
		}
	}
	return sum
}

// files is how many files a process and its descendants have open.
func files(t testing.TB, pid int) (sum int) {
	t.Helper()
	for _, p := range tree(pid) {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p))
		if err != nil {
			t.Fatal(err)
		}
		sum += len(entries)
	}
	return sum
}

// fileLimit is how many files a process may open here.
func fileLimit(t testing.TB) int {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	return int(l.Max)
}
