package relay

import (
	"strings"
	"testing"
	"time"
)

// turns gives every contender its turn, in each round another first: a machine
// that is slow for a while is slow for all.
func turns(b *testing.B, of []running, turn func(running)) {
	b.Helper()
	for i := range *rounds {
		for j := range of {
			r := of[(i+j)%len(of)]
			turn(r)
			if b.Failed() {
				b.Fatal("so with " + r.name)
			}
		}
	}
}

// runAll starts all contenders with a server behind them.
func runAll(b *testing.B, w *world, cpu int) []running {
	b.Helper()
	w.serveEnvd(b, cpu)
	var out []running
	for _, c := range contenders() {
		if *only != "" && !strings.Contains(*only, c.name) {
			continue
		}
		out = append(out, c.run(b, w, cpu))
	}
	return out
}

func (r running) pid() int {
	if r.proc == nil {
		return 0
	}
	return r.proc.Cmd.Process.Pid
}

// inOrder has the columns in the order of the contenders, whoever was first.
func inOrder(r *row, of []running) *row {
	for _, c := range of {
		r.names = append(r.names, c.name)
	}
	return r
}

func BenchmarkBulk(b *testing.B) {
	w := newWorld(b)
	of := runAll(b, w, -1)
	for _, dir := range []struct {
		name string
		down bool
	}{{"to the guest", false}, {"from the guest", true}} {
		rate := inOrder(newRow("bulk "+dir.name+", GB/s", "%.2f", goal{"socat", 5, false}, goal{"HAProxy", 1.1, false}, goal{"direct", 0.6, false}), of)
		cost := inOrder(newRow("CPU of the relay for it, s/GB", "%.3f", goal{"HAProxy", 1, true}), of)
		turns(b, of, func(r running) {
			asClient(b, w, -1, func() error {
				moved, cpu, err := bulk(r.addr, dir.down, *window, r.pid())
				rate.add(r.name, moved/1e9)
				cost.add(r.name, cpu)
				return err
			})
		})
	}
}

// Everything on one CPU: what it takes is then what is spent.
func BenchmarkRequest(b *testing.B) {
	const cpu = 0
	w := newWorld(b)
	of := runAll(b, w, cpu)
	row := inOrder(newRow("request p50, all on one CPU, us", "%.1f", goal{"nginx", 1, true}), of)
	turns(b, of, func(r running) {
		asClient(b, w, cpu, func() error {
			p50, err := roundTrips(r.addr, *window)
			row.add(r.name, float64(p50)/float64(time.Microsecond))
			return err
		})
	})
}

func BenchmarkCrowd(b *testing.B) {
	w := newWorld(b)
	of := runAll(b, w, -1)
	row := inOrder(newRow("requests/s over 64 connections, thousands", "%.1f", goal{"HAProxy", 1, false}), of)
	turns(b, of, func(r running) {
		asClient(b, w, -1, func() error {
			rate, err := crowd(r.addr, 64, false, *window)
			row.add(r.name, rate/1e3)
			return err
		})
	})
}

func BenchmarkConnect(b *testing.B) {
	w := newWorld(b)
	of := runAll(b, w, -1)
	for _, at := range []struct {
		name  string
		conns int
		goals []goal
	}{
		{"connect + request + close, one at a time, thousands/s", 1, []goal{{"HAProxy", 1, false}}},
		{"the same, 16 at once", 16, []goal{{"HAProxy", 1, false}, {"socat", 6, false}}},
	} {
		row := inOrder(newRow(at.name, "%.2f", at.goals...), of)
		turns(b, of, func(r running) {
			asClient(b, w, -1, func() error {
				rate, err := crowd(r.addr, at.conns, true, *window)
				row.add(r.name, rate/1e3)
				return err
			})
		})
	}
}
