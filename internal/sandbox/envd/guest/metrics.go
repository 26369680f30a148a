package guest

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// usage is the body of GET /metrics, as envd has it; sizes are in bytes unless
// the name says otherwise.
type usage struct {
	TS          int64   `json:"ts"` // Unix seconds
	CPUCount    int     `json:"cpu_count"`
	CPUUsedPct  float64 `json:"cpu_used_pct"` // since the call before; since boot for the first
	MemTotal    uint64  `json:"mem_total"`
	MemUsed     uint64  `json:"mem_used"`
	MemCache    uint64  `json:"mem_cache"`
	MemTotalMiB uint64  `json:"mem_total_mib"`
	MemUsedMiB  uint64  `json:"mem_used_mib"`
	DiskUsed    uint64  `json:"disk_used"` // of the root file system
	DiskTotal   uint64  `json:"disk_total"`
}

// metrics answers 500 where a value is not to be had: none is ever a made-up zero.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	u := usage{TS: time.Now().Unix(), CPUCount: runtime.NumCPU()}
	var err error
	if u.CPUUsedPct, err = s.cpu.usedPct(); err == nil {
		err = u.readMemory()
	}
	if err == nil {
		err = u.readDisk()
	}
	if err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, u)
}

func (u *usage) readMemory() error {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("read memory usage: %w", err)
	}
	kib := map[string]uint64{}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		if f := strings.Fields(sc.Text()); len(f) >= 2 {
			kib[strings.TrimSuffix(f[0], ":")], _ = strconv.ParseUint(f[1], 10, 64)
		}
	}
	total, available := kib["MemTotal"], kib["MemAvailable"]
	if total == 0 || available > total {
		return fmt.Errorf("read memory usage: MemTotal %d KiB, MemAvailable %d KiB", total, available)
	}
	u.MemTotal, u.MemUsed, u.MemCache = total<<10, (total-available)<<10, kib["Cached"]<<10
	u.MemTotalMiB, u.MemUsedMiB = total>>10, (total-available)>>10
	return nil
}

func (u *usage) readDisk() error {
	var st unix.Statfs_t
	if err := unix.Statfs("/", &st); err != nil {
		return fmt.Errorf("read disk usage: %w", err)
	}
	u.DiskTotal = st.Blocks * uint64(st.Bsize)
	u.DiskUsed = (st.Blocks - st.Bfree) * uint64(st.Bsize)
	return nil
}

// cpuMeter turns the counters of /proc/stat into a share of time.
type cpuMeter struct {
	mu         sync.Mutex
	busy, all  uint64
	lastResult float64
}

// usedPct returns the share of CPU time, 0 to 100, that was not idle since the last call.
func (m *cpuMeter) usedPct() (float64, error) {
	busy, all, err := readCPU()
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if all > m.all { // else: called again within the same tick
		m.lastResult = math.Round(10000*float64(busy-m.busy)/float64(all-m.all)) / 100
		m.busy, m.all = busy, all
	}
	return m.lastResult, nil
}

// readCPU returns the ticks since boot that were spent not idle, and all of them.
func readCPU() (busy, all uint64, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("read cpu usage: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal guest guest_nice
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, fmt.Errorf("read cpu usage: unexpected line %q", line)
	}
	var idle uint64
	for i, v := range f[1:9] { // guest time is counted in user already
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read cpu usage: %w", err)
		}
		all += n
		if i == 3 || i == 4 {
			idle += n
		}
	}
	return all - idle, all, nil
}
