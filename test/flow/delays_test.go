package flow

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/internal/flowtest"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
)

// delay is what is put in.
const delay = 5 * time.Millisecond

// This machine does other things too, and what waits for a CPU waits in its hop: so
// many requests must be told exactly, of at most so many.
const (
	exact = 10
	asked = 500
)

// A delay is told of the hop that it was put into, and of the right part of it, and
// of no other hop.
func TestDelays(t *testing.T) {
	keepAwake(t)
	atProxy := func(l *line) *proctest.Process { return l.proxy }
	atRelay := func(l *line) *proctest.Process { return l.relay }
	vmm := func(l *line) *proctest.Process { return l.slot.VMM }
	quick, slow := proxy(t, "go-readwrite"), flowtest.Slow(delay.String())
	usual := usualOf(t, lineOf(t, quick, quick))
	for _, c := range []struct {
		name         string
		proxy, relay flowtest.Proxy
		ask          request
		hop          path.Hop
		part         string // of the hop; "" where it has none
	}{
		{"starved proxy", quick, quick, stopped(atProxy), path.Proxy, "proxy wait"},
		{"slow proxy", slow, quick, slowed(atProxy), path.Proxy, "proxy handle"},
		{"starved relay", quick, quick, stopped(atRelay), path.Relay, "relay wait"},
		{"slow relay", quick, slow, slowed(atRelay), path.Relay, "relay handle"},
		{"stopped VMM", quick, quick, stopped(vmm), path.Tap, "tap queue"},
		{"slow envd", quick, quick, slept, path.Envd, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			holdDelay(t, lineOf(t, c.proxy, c.relay), usual, c.ask, c.hop, c.part)
		})
	}
	usual = usualOf(t, dnatLine(t, quick))
	for _, c := range []struct {
		name  string
		proxy flowtest.Proxy
		ask   request
		hop   path.Hop
		part  string
	}{
		{"dnat/starved proxy", quick, stopped(atProxy), path.Proxy, "proxy wait"},
		{"dnat/slow proxy", slow, slowed(atProxy), path.Proxy, "proxy handle"},
		{"dnat/stopped VMM", quick, stopped(vmm), path.Tap, "tap queue"},
		{"dnat/slow envd", quick, slept, path.Envd, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			holdDelay(t, dnatLine(t, c.proxy), usual, c.ask, c.hop, c.part)
		})
	}
}

// keepAwake lets no CPU idle until the test ends. One that slept while a delay was put in
// takes up to some 200 us to wake on a virtual machine, in the hop that comes next: then
// all requests with a delay differ from the usual one, which found its CPUs awake.
func keepAwake(t *testing.T) {
	t.Helper()
	for range runtime.NumCPU() {
		nettest.Start(t, "", exec.CommandContext(t.Context(), "chrt", "--idle", "0", "sh", "-c", "while :; do :; done"))
	}
}

// holdDelay asks over one connection, from the time on when it is known, and holds
// what is told of each request to what a usual one takes, and to the delay that was
// put into one hop and its part.
func holdDelay(t *testing.T, l *line, usual spent, r request, hop path.Hop, part string) {
	t.Helper()
	c := flowtest.Dial(t, l.host.Netns, l.host.Front, 1)[0]
	for range 10 {
		r(t, l, c)
	}
	var wrong []string
	for n, right := 0, 0; right < exact; n++ {
		if n == asked {
			t.Fatalf("%d of %d requests are told exactly; of the last: %s", right, n, strings.Join(wrong, ", "))
		}
		if wrong = misplaced(l.ask(t, r, c), usual, hop, part); len(wrong) == 0 {
			right++
		}
	}
}

// misplaced is what is told of a request and cannot be: a tenth or 100 us, whichever
// is larger, is allowed, and a twentieth of the whole.
func misplaced(s, usual spent, hop path.Hop, part string) (wrong []string) {
	hold := func(what string, got, want time.Duration) {
		if (got - want).Abs() > max(want/10, 100*time.Microsecond) {
			wrong = append(wrong, fmt.Sprintf("%s took %s, want %s", what, got, want))
		}
	}
	for _, h := range flow.Hops {
		want := usual.hops[h]
		if h == hop {
			want += s.put
		}
		hold(string(h), s.hops[h], want)
	}
	if part != "" {
		hold(part, s.parts[part], usual.parts[part]+s.put)
	}
	if lost := s.client.Total - s.inHops(); lost > s.client.Total/20 {
		wrong = append(wrong, fmt.Sprintf("%s of %s is in no hop", lost, s.client.Total))
	}
	return wrong
}

// usualOf is the quickest of some requests.
func usualOf(t *testing.T, l *line) (quickest spent) {
	t.Helper()
	c := flowtest.Dial(t, l.host.Netns, l.host.Front, 1)[0]
	for n := range 50 {
		if s := l.ask(t, plain, c); n == 0 || s.client.Total < quickest.client.Total {
			quickest = s
		}
	}
	return quickest
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
					for range 3 {
						l.ask(t, plain, c)
					}
				}
			}
		})
	}
}
