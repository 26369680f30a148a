package flow

import (
	"slices"
	"sync"
	"testing"
	"time"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/flowtest"
	"tapwatch/internal/netns"
)

const (
	costRounds = 15
	costRound  = time.Second
	costConns  = 64
)

// BenchmarkCost is what all that the agent has on a path costs its requests: the
// hooks on the tap and the timing of every hop, against a path that nobody watches.
// Rounds alternate. Clients, proxies, VMM and daemon share the machine, and are as
// quick as they come: no guest kernel has to boot.
func BenchmarkCost(b *testing.B) {
	for _, name := range []string{"haproxy", "go-readwrite"} {
		b.Run(name, func(b *testing.B) {
			h := flowtest.NewHost(b)
			s := h.Slot(b)
			flowtest.Serve(b, s.Guest, flowtest.Envd)
			p := proxy(b, name)
			p.Start(b, s.Netns, s.Vpeer, flowtest.Envd)
			p.Start(b, h.Netns, h.Front, s.Vpeer)
			for b.Loop() {
				compare(b, h, s)
			}
		})
	}
}

func compare(b *testing.B, h *flowtest.Host, s *flowtest.Slot) {
	var without, with, ratios []float64
	var tookWithout, tookWith []time.Duration
	for range costRounds {
		n, took := ask(b, h, costRound)
		without, tookWithout = append(without, n), append(tookWithout, took...)
		stop := watchAll(b, h, s)
		m, took := ask(b, h, costRound)
		stop()
		with, tookWith = append(with, m), append(tookWith, took...)
		ratios = append(ratios, m/n)
	}
	b.ReportMetric(middle(without), "req/s-without")
	b.ReportMetric(middle(with), "req/s-with")
	b.ReportMetric(middle(ratios), "ratio")
	for name, took := range map[string][]time.Duration{"without": tookWithout, "with": tookWith} {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us-"+name)
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us-"+name)
	}
}

// ask has new connections ask for a while and returns how many requests a second
// were answered, and what each took.
func ask(b *testing.B, h *flowtest.Host, during time.Duration) (perSecond float64, took []time.Duration) {
	b.Helper()
	conns := flowtest.Dial(b, h.Netns, h.Front, costConns)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	each := make([][]time.Duration, len(conns))
	var wg sync.WaitGroup
	begun := time.Now()
	for i, c := range conns {
		wg.Go(func() {
			for time.Since(begun) < during {
				a, err := c.Ask(flowtest.Request{Size: 256, Reply: 256})
				if err != nil {
					b.Error(err)
					return
				}
				each[i] = append(each[i], a.Total)
			}
		})
	}
	wg.Wait()
	took = slices.Concat(each...)
	return float64(len(took)) / time.Since(begun).Seconds(), took
}

// watchAll puts everything in place as the agent does, until stop.
func watchAll(b *testing.B, h *flowtest.Host, s *flowtest.Slot) (stop func()) {
	b.Helper()
	p, err := probe.Load(probe.Config{HooksDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	d := netns.Device{Netns: s.Cookie, Ifindex: netns.Ifindex(s.Tap(b))}
	if err := p.Attach(s.Netns, d, "tap0"); err != nil {
		b.Fatal(err)
	}
	f, err := flow.Load(flow.Config{ProxyPort: h.Front.Port()})
	if err != nil {
		b.Fatal(err)
	}
	if err := f.Add(pathOf(b, s)); err != nil {
		b.Fatal(err)
	}
	return func() {
		b.Helper()
		seen, err := f.Read()
		if err != nil {
			b.Fatal(err)
		}
		if seen.Hops[path.Envd].Count == 0 || seen.Hops[path.Relay].Count == 0 || seen.Hops[path.Proxy].Count == 0 {
			b.Errorf("requests were not measured: %+v %+v", seen.Joined, seen.Unjoined)
		}
		for _, end := range []func() error{f.Close, func() error { return p.Detach(s.Netns, d) }, p.Close} {
			if err := end(); err != nil {
				b.Error(err)
			}
		}
	}
}

func middle(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	return xs[len(xs)/2]
}
