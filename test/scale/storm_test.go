package scale

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"tapwatch/agent"
	"tapwatch/agent/events"
	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/network"
)

// BenchmarkCarrierStorm measures how long after its holder let go of a tap the
// agent's state says so: of single taps, of 600 at once among 1,000, and of
// single ones right behind such a storm. What the kernel alone takes for the
// storm, to a socket that only listens, is measured beside it.
func BenchmarkCarrierStorm(b *testing.B) {
	f := makeFleet(b, 1_000, 1_000)
	kernel := kernelStorm(b, f, upTo(600)...)
	f.hold(b, upTo(600)...)
	a := startAgent(b, f)
	var single, storm, amid []time.Duration
	for b.Loop() {
		for i := range 200 {
			single = append(single, a.letGo(b, f, 700+i)...)
		}
		storm = append(storm, a.letGo(b, f, upTo(600)...)...)
		f.hold(b, upTo(600)...)
		done := make(chan struct{})
		go func() { // the storm's second half falls on single ones
			defer close(done)
			for i := range 600 {
				f.taps[i].Close()
			}
		}()
		for i := range 50 {
			amid = append(amid, a.letGo(b, f, 900+i)...)
		}
		<-done
		a.waitFor(b, func() bool { return a.carriers() == 1000-600-250 })
		f.hold(b, upTo(600)...)
		f.hold(b, upTo(1000)[700:950]...)
		a.waitFor(b, func() bool { return a.carriers() == 1000 })
	}
	report(b, "single", single)
	report(b, "kernel-storm", kernel)
	report(b, "storm", storm)
	report(b, "amid", amid)
	if lost := a.sub.Lost() - a.missed; lost > 0 {
		b.Errorf("%d events were missed: the figures are not of all", lost)
	}
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

func report(b *testing.B, what string, d []time.Duration) {
	slices.Sort(d)
	b.ReportMetric(float64(d[len(d)/2].Microseconds())/1000, what+"-p50-ms")
	b.ReportMetric(float64(d[len(d)*99/100].Microseconds())/1000, what+"-p99-ms")
}

// hold attaches to taps again.
func (f *fleet) hold(t testing.TB, taps ...int) {
	t.Helper()
	for _, i := range taps {
		var err error
		if f.taps[i], err = openTap(network.Slot{Index: i + 1}); err != nil {
			t.Fatal(err)
		}
	}
}

// inProcess is an agent in this process: what it knows is seen without a way
// through HTTP.
type inProcess struct {
	*agent.Agent
	sub    *events.Subscription
	missed uint64 // events of the start, which nobody reads in time

	mu   sync.Mutex
	lost map[string]time.Time // when the loss of a namespace's carrier was told
}

func startAgent(t testing.TB, f *fleet) *inProcess {
	t.Helper()
	nettest.NeedRoot(t)
	inner, err := agent.New(agent.Config{Listen: "127.0.0.1:0", RunDir: string(f.dir), Proxy: netip.MustParseAddrPort("127.0.0.1:49983"),
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		t.Fatal(err)
	}
	a := &inProcess{Agent: inner, sub: inner.Events().Subscribe(), lost: map[string]time.Time{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- inner.Run(ctx) }()
	go a.listen()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		a.sub.Close()
	})
	a.waitFor(t, func() bool { return a.Ready() == nil && a.carriers() == f.n })
	time.Sleep(3 * time.Second) // hooks are put on, what follows a start has ended
	a.missed = a.sub.Lost()
	return a
}

func (a *inProcess) listen() {
	for e := range a.sub.C {
		if e.Kind == path.CarrierLost {
			a.mu.Lock()
			a.lost[e.Netns] = time.Now()
			a.mu.Unlock()
		}
	}
}

// carriers counts the taps of the fleet with carrier.
func (a *inProcess) carriers() (n int) {
	for _, s := range a.Slots() {
		if s.Device.Carrier == path.Yes && s.Sandbox != nil {
			n++
		}
	}
	return n
}

func (a *inProcess) waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the agent never knew")
		}
	}
}

// letGo closes taps one right after the other and returns how long each loss took
// to be known.
func (a *inProcess) letGo(t testing.TB, f *fleet, taps ...int) (took []time.Duration) {
	t.Helper()
	closed := make([]time.Time, len(taps))
	for n, i := range taps {
		a.mu.Lock()
		delete(a.lost, network.Slot{Index: i + 1}.Netns())
		a.mu.Unlock()
		closed[n] = time.Now()
		f.taps[i].Close()
	}
	for n, i := range taps {
		var at time.Time
		for end := time.Now().Add(20 * time.Second); at.IsZero(); time.Sleep(50 * time.Microsecond) {
			a.mu.Lock()
			at = a.lost[network.Slot{Index: i + 1}.Netns()]
			a.mu.Unlock()
			if time.Now().After(end) {
				t.Fatalf("the loss of tap %d was never told", i)
			}
		}
		took = append(took, at.Sub(closed[n]))
	}
	return took
}
