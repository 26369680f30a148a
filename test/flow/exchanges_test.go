package flow

import (
	"testing"
	"time"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/internal/flowtest"
)

// What clients do beside asking and waiting is joined as well, and counted as what
// can be told apart: what follows in an answer is no request.
func TestExchanges(t *testing.T) {
	for _, layers := range [][2]string{{"go-copy", "socat"}, {"nginx", "haproxy-splice"}, {"haproxy", "go-readwrite"}} {
		t.Run(layers[0]+"-"+layers[1], func(t *testing.T) {
			t.Parallel()
			l := lineOf(t, proxy(t, layers[0]), proxy(t, layers[1]))
			for _, e := range flowtest.Exchanges() {
				t.Run(e.Name, func(t *testing.T) { holdExchange(t, l, e) })
			}
		})
	}
}

func holdExchange(t *testing.T, l *line, e flowtest.Exchange) {
	before := read(t, l.flow)
	conns := flowtest.Dial(t, l.host.Netns, l.host.Front, 5)
	for _, c := range conns {
		if err := e.Run(c); err != nil {
			t.Fatal(err)
		}
	}
	after := read(t, l.flow)
	fronts, relayed := pairsOf(t, l.flow, path.Proxy), pairsOf(t, l.flow, path.Relay)
	for _, c := range conns {
		first := fronts[c.Client]
		second := relayed[first.Back.Local]
		if e.Most == 0 {
			if first.Requests != 0 {
				t.Errorf("%s said nothing, and is said to have asked: %+v", c.Client, first)
			}
			continue
		}
		if second.Back.Local != c.Peer || second.Back.Remote != c.Server {
			t.Errorf("%s is said to be carried by %s and then by %s to %s, and was by %s to %s",
				c.Client, first.Back.Local, second.Back.Local, second.Back.Remote, c.Peer, c.Server)
		}
		for _, p := range []flow.Pair{first, second} {
			if p.Requests < uint64(e.Least) || p.Requests > uint64(e.Most) {
				t.Errorf("%d requests at %s, want %d to %d", p.Requests, p.Hop, e.Least, e.Most)
			}
		}
	}
	for _, hop := range flow.Hops {
		count, took := after.Hops[hop].Count-before.Hops[hop].Count, after.Hops[hop].Sum-before.Hops[hop].Sum
		least := len(conns) * e.Least
		if hop == path.Tap || hop == path.Envd {
			least = 0 // what had to be sent again is left out
		}
		if count < uint64(least) || count > uint64(len(conns)*e.Most) {
			t.Errorf("%d requests of %d connections at %s, want %d to %d of each", count, len(conns), hop, e.Least, e.Most)
		}
		if count > 0 && took/time.Duration(count) > 50*time.Millisecond {
			t.Errorf("a request took %s at %s: what followed the answer's begin is in it", took/time.Duration(count), hop)
		}
	}
	if e.Least != e.Most {
		return // both talk at once: what answers what cannot be told of all of it
	}
	for _, u := range after.Unjoined {
		for _, was := range before.Unjoined {
			if was.Hop == u.Hop && was.Reason == u.Reason {
				u.Count -= was.Count
			}
		}
		if u.Count > 0 {
			t.Errorf("%d at %s are not joined: %s", u.Count, u.Hop, u.Reason)
		}
	}
}
