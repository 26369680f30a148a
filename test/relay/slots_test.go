package relay

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
)

// BenchmarkSlots has one process serve 5,000 namespaces, and calls through some.
func BenchmarkSlots(b *testing.B) {
	const slots = 5000
	at := netip.MustParseAddrPort("127.0.0.1:20000")
	names := make([]string, slots)
	var lines strings.Builder
	for i := range names {
		names[i] = nettest.RandomName("twtest-")
		if err := netns.Create(names[i]); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := netns.Delete(names[i]); err != nil {
				b.Error(err)
			}
		})
		fmt.Fprintf(&lines, "%s %s 127.0.0.1:20001\n", names[i], at)
	}
	file := filepath.Join(b.TempDir(), "routes")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	bin := tapwatch(b)
	begun := time.Now()
	p := proctest.Start(b, bin, "relay", "--routes", file)
	p.WaitFor(b, 0, "relaying 5000 routes")
	ready := time.Since(begun)
	pid := p.Cmd.Process.Pid
	for i := 0; i < slots; i += slots / 10 {
		nettest.SetUp(b, names[i], "lo", true)
		echoAt(b, names[i], "127.0.0.1:20001")
		if err := once(b.Context(), names[i], at); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	before := cpuTime(pid)
	time.Sleep(5 * time.Second)
	idle := (cpuTime(pid) - before).Seconds() / 5
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range []struct {
		what, format string
		v            float64
	}{
		{"5,000 slots in one process: ready after, s", "%.2f", ready.Seconds()},
		{"its memory, MB", "%.1f", float64(memory(b, pid)) / 1e6},
		{"its files", "%.0f", float64(files(b, pid))},
		{"its threads", "%.0f", float64(len(threads))},
		{"its CPU at rest, % of one", "%.2f", idle * 100},
	} {
		newRow(f.what, f.format).add(ours.name, f.v)
	}
}
