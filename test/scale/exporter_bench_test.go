package scale

import (
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
)

// exporterRounds is how often either is scraped, the one right after the other.
const exporterRounds = 15

// BenchmarkScrapeBesideNodeExporter measures what a scrape of 300 bound slots takes, of
// this agent and of a node_exporter on the same host, in turn. NODE_EXPORTER is the path
// of its program.
func BenchmarkScrapeBesideNodeExporter(b *testing.B) {
	exporter := os.Getenv("NODE_EXPORTER")
	if exporter == "" {
		nettest.Unfit(b, "NODE_EXPORTER does not say where node_exporter is")
	}
	f := makeFleet(b, 300, 300)
	w := watch(b, build(b), f.dir)
	w.until("ready", w.ready)
	w.hookedAll(f.n)
	addr := freeAddr(b)
	other := proctest.Start(b, exporter, "--web.listen-address="+addr)
	other.WaitFor(b, 0, "Listening on")
	time.Sleep(10 * time.Second) // what follows a start has ended
	for b.Loop() {
		ours := &scraped{url: w.url + "/metrics", pid: w.pid()}
		theirs := &scraped{url: "http://" + addr + "/metrics", pid: other.Cmd.Process.Pid}
		for range exporterRounds {
			ours.scrape(b)
			theirs.scrape(b)
		}
		ours.report(b, "tapwatch")
		theirs.report(b, "node_exporter")
	}
}

// scraped is a program and what its scrapes took.
type scraped struct {
	url       string
	pid       int
	took, cpu []time.Duration
	bytes     int64
}

func (s *scraped) scrape(b *testing.B) {
	time.Sleep(300 * time.Millisecond)
	cpu, began := cpuOf(b, s.pid), time.Now()
	resp, err := http.Get(s.url) //nolint:gosec // of a program that this benchmark runs
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if s.bytes, err = io.Copy(io.Discard, resp.Body); err != nil {
		b.Fatal(err)
	}
	s.took = append(s.took, time.Since(began))
	s.cpu = append(s.cpu, cpuOf(b, s.pid)-cpu)
}

// report reports the medians.
func (s *scraped) report(b *testing.B, name string) {
	for unit, of := range map[string][]time.Duration{"-ms": s.took, "-cpu-ms": s.cpu} {
		slices.Sort(of)
		b.ReportMetric(float64(of[len(of)/2].Microseconds())/1000, name+unit)
	}
	b.ReportMetric(float64(s.bytes)/1e6, name+"-MB")
}

// cpuOf is the CPU time of a process, to the nanosecond.
func cpuOf(b *testing.B, pid int) time.Duration {
	const cpuClockSched = 2 // CPUCLOCK_SCHED of include/linux/posix-timers_types.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// freeAddr is an address of this host at which nobody listens.
func freeAddr(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0") // it is closed at once
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
