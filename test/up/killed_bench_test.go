package up

import (
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkVMMKilled measures what an operator sees of a VMM killed with -9:
// from the signal to the event's own time in the agent, and to its line on the
// screen. Run it with -benchtime 20x.
func BenchmarkVMMKilled(b *testing.B) {
	h := start(b, "--pool", "1")
	api := h.WaitFor(b, 0, `^api: (\S+)`).Groups[1]
	line := h.WaitFor(b, 0, `^up until Ctrl-C`).Line
	var heard, printed []time.Duration
	for b.Loop() {
		out, err := exec.Command(h.bin, "sandbox", "create", "--api-url", api, "--name", "victim").Output()
		if err != nil {
			b.Fatal(err)
		}
		id := strings.TrimSpace(string(out))
		s := h.named(b, "victim")
		killed := time.Now()
		if err := syscall.Kill(s.Sandbox.VMMPID, syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		said := h.WaitFor(b, line, `^(\S+)  carrier-lost .*`+id)
		line = said.Line
		at, err := time.ParseInLocation("2006-01-02 15:04:05.000", killed.Format("2006-01-02 ")+said.Groups[1], time.Local)
		if err != nil {
			b.Fatal(err)
		}
		heard = append(heard, max(at.Sub(killed), 0)) // printed to the millisecond below
		printed = append(printed, said.Time.Sub(killed))
		if err := exec.Command(h.bin, "sandbox", "kill", "--api-url", api, id).Run(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, "heard", heard)
	report(b, "printed", printed)
}

func report(b *testing.B, what string, d []time.Duration) {
	slices.Sort(d)
	b.ReportMetric(float64(d[len(d)/2].Microseconds())/1000, what+"-p50-ms")
	b.ReportMetric(float64(d[len(d)-1].Microseconds())/1000, what+"-max-ms")
}
