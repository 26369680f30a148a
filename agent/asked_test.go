package agent

import (
	"testing"
	"time"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
)

// What may come of the agent's own questions is not taken for traffic.
func TestOwnTraces(t *testing.T) {
	start := time.Now()
	later := func(d time.Duration) time.Time { return start.Add(d) }
	var a asked
	var seen traffic
	envd := func(good time.Time) (now flow.Seen) { now.Good[len(now.Good)-1] = good; return now }
	takes := func(what string, good time.Time, want bool) {
		t.Helper()
		if got := seen.takes(envd(good), &a); got != want {
			t.Errorf("%s: taken %t", what, got)
		}
	}
	takes("before any question", later(-time.Minute), true)
	takes("the same again", later(-time.Minute), false)
	a.begins(atTap, start)
	a.begins(throughPath, start)
	takes("while they are open", time.Now(), false)
	a.ends(path.Health{Code: 204})
	takes("while one is", time.Now(), false)
	a.ends(path.Health{Error: "no answer in 2s"})
	takes("an answer that comes late", time.Now().Add(echoes/2), false)
	if good := seen.Good[len(seen.Good)-1]; !good.Equal(later(-time.Minute)) {
		t.Errorf("the last real answer was at %v", good)
	}
	takes("long after", time.Now().Add(2*echoes), true)
	a.begins(atTap, start)
	takes("that again, and another question begins", time.Now().Add(2*echoes), false)
}

func TestServed(t *testing.T) {
	since := time.Unix(100, 0)
	proxy, relay, tap, envd := 0, 1, 2, 3
	if flow.Hops != [4]path.Hop{path.Proxy, path.Relay, path.Tap, path.Envd} {
		t.Fatal(flow.Hops)
	}
	for name, c := range map[string]struct {
		good, bad map[int]int64 // by hop, seconds after since
		want      [ways]bool
	}{
		"nothing seen":               {},
		"answered long ago":          {good: map[int]int64{proxy: -5, envd: -5}},
		"answered":                   {good: map[int]int64{proxy: 5, relay: 5, tap: 5, envd: 5}, want: [ways]bool{true, true}},
		"not joined at the proxy":    {good: map[int]int64{relay: 5, tap: 5, envd: 5}, want: [ways]bool{atTap: true}},
		"only the tap has":           {good: map[int]int64{tap: 5, envd: -5}},
		"a connection failed since":  {good: map[int]int64{proxy: 5, envd: 5}, bad: map[int]int64{relay: 6}},
		"one failed before":          {good: map[int]int64{proxy: 5, envd: 5}, bad: map[int]int64{envd: 4}, want: [ways]bool{true, true}},
		"one failed before this age": {good: map[int]int64{envd: 5}, bad: map[int]int64{envd: -4}, want: [ways]bool{atTap: true}},
	} {
		s := slot{seen: &traffic{}}
		for hop, at := range c.good {
			s.seen.Good[hop] = since.Add(time.Duration(at) * time.Second)
		}
		for hop, at := range c.bad {
			s.seen.Bad[hop] = since.Add(time.Duration(at) * time.Second)
		}
		for w := range ways {
			if got := s.served(shows[w], since); got != c.want[w] {
				t.Errorf("%s: asking by %s is spared: %t", name, wayNames[w], got)
			}
		}
	}
}
