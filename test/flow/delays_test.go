package flow

import (
	"testing"
	"time"

	"tapwatch/agent/flow"
	"tapwatch/internal/flowtest"
	"tapwatch/internal/proctest"
)

const (
	delay = 5 * time.Millisecond
	// times is of how many requests each measurement is the median: this machine
	// does other things too.
	times = 25
)

// A delay is told of the hop that it was put into, and of the right part of it, and
// of no other hop.
func TestDelays(t *testing.T) {
	layer1 := func(l *line) *proctest.Process { return l.layer1 }
	layer2 := func(l *line) *proctest.Process { return l.layer2 }
	vmm := func(l *line) *proctest.Process { return l.slot.VMM }
	quick, slow := proxy(t, "go-readwrite"), flowtest.Slow(delay.String())
	usual := measure(t, lineOf(t, quick, quick), plain)
	for _, c := range []struct {
		name           string
		layer1, layer2 flowtest.Proxy
		ask            request
		hop            flow.Hop
		part           string // of the hop; "" where it has none
	}{
		{"starved proxy", quick, quick, stopped(layer1), flow.Proxy, "proxy wait"},
		{"slow proxy", slow, quick, slowed(layer1), flow.Proxy, "proxy handle"},
		{"starved relay", quick, quick, stopped(layer2), flow.Relay, "relay wait"},
		{"slow relay", quick, slow, slowed(layer2), flow.Relay, "relay handle"},
		{"stopped VMM", quick, quick, stopped(vmm), flow.Tap, "tap queue"},
		{"slow envd", quick, quick, slept, flow.Envd, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			holdDelay(t, usual, measure(t, lineOf(t, c.layer1, c.layer2), c.ask), c.hop, c.part)
		})
	}
	usual = measure(t, dnatLine(t, quick), plain)
	for _, c := range []struct {
		name   string
		layer1 flowtest.Proxy
		ask    request
		hop    flow.Hop
		part   string
	}{
		{"dnat/starved proxy", quick, stopped(layer1), flow.Proxy, "proxy wait"},
		{"dnat/slow proxy", slow, slowed(layer1), flow.Proxy, "proxy handle"},
		{"dnat/stopped VMM", quick, stopped(vmm), flow.Tap, "tap queue"},
		{"dnat/slow envd", quick, slept, flow.Envd, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			holdDelay(t, usual, measure(t, dnatLine(t, c.layer1), c.ask), c.hop, c.part)
		})
	}
}

// holdDelay holds what is told of delayed requests to what usual ones take, and to
// the delay that was put into one hop and its part.
func holdDelay(t *testing.T, usual, delayed []spent, hop flow.Hop, part string) {
	t.Helper()
	put := median(delayed, func(s spent) time.Duration { return s.put })
	for _, h := range flow.Hops {
		in := func(s spent) time.Duration { return s.hops[h] }
		want := median(usual, in)
		if h == hop {
			want += put
		}
		hold(t, string(h), median(delayed, in), want)
	}
	if part != "" {
		in := func(s spent) time.Duration { return s.parts[part] }
		hold(t, part, median(delayed, in), median(usual, in)+put)
	}
	lost := median(delayed, func(s spent) float64 { return 1 - s.inHops().Seconds()/s.client.Total.Seconds() })
	if lost < 0 || lost > 0.05 {
		t.Errorf("%.1f%% of what the client measured is in no hop", 100*lost)
	}
}

// measure asks over one connection, from the time on when it is known.
func measure(t *testing.T, l *line, r request) []spent {
	t.Helper()
	c := flowtest.Dial(t, l.host.Netns, l.host.Front, 1)[0]
	for range 10 {
		r(t, l, c)
	}
	all := make([]spent, times)
	for i := range all {
		all[i] = l.ask(t, r, c)
	}
	return all
}

// hold allows a tenth or 100 us, whichever is larger.
func hold(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if (got - want).Abs() > max(want/10, 100*time.Microsecond) {
		t.Errorf("%s took %s, want %s", what, got, want)
	}
}

// Whatever carries a request, and however long its connection was silent before,
// the hops have no more than the client waited for the answer's begin.
func TestHopsAreWithinTheClients(t *testing.T) {
	for _, p := range flowtest.Proxies() {
		if p.Adversarial {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			l := lineOf(t, p, p)
			for _, wait := range []time.Duration{0, 20 * time.Millisecond} {
				for range 10 {
					c := flowtest.Dial(t, l.host.Netns, l.host.Front, 1)[0]
					time.Sleep(wait) // the proxies look for data while there is none
					for n := range 3 {
						if s := l.ask(t, plain, c); s.inHops() > s.client.First {
							t.Errorf("request %d took %s, in hops: %v", n, s.client.First, s.hops)
						}
					}
				}
			}
		})
	}
}
