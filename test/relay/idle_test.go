package relay

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkIdle opens as many connections as the limit of files lets through, up
// to 10,000 (of socat, a process each, a tenth), and leaves them alone.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b)
	w.serveEnvd(b, -1)
	most := min(10_000, fileLimit(b)/2-300)
	memoryRow := newRow("process memory per idle connection, KiB", "%.2f", goal{"HAProxy", 1, true})
	filesRow := newRow("its files", "%.1f")
	for _, c := range []contender{socats, haproxies, nginxes, ours} {
		b.Run(c.name, func(b *testing.B) { // it ends with its run
			n := most
			if c.name == socats.name {
				n = most / 10
			}
			r := c.run(b, w, -1)
			time.Sleep(200 * time.Millisecond) // the call that found it ready has ended
			bytes, fds := memory(b, r.pid()), files(b, r.pid())
			asClient(b, w, -1, func() error {
				buf := make([]byte, 64<<10)
				for range n {
					fd, err := dial(r.addr, 0)
					if err != nil {
						return err
					}
					defer unix.Close(fd)
					if err := ask(fd, buf); err != nil {
						return err
					}
				}
				time.Sleep(time.Second)
				memoryRow.add(c.name, float64(memory(b, r.pid())-bytes)/float64(n)/1024)
				filesRow.add(c.name, float64(files(b, r.pid())-fds)/float64(n))
				return nil
			})
			b.ReportMetric(float64(n), "connections")
		})
	}
}
