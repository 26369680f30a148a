package path

import (
	"maps"
	"testing"
	"time"

	"tapwatch/internal/registry"
)

// What is not known for certain is absent.
func TestShown(t *testing.T) {
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	well := Health{Time: early, Connected: true, Code: 204}
	hung := Health{Time: early, Connected: true, TimedOut: true, Error: "no answer in 2s"}
	silent := Health{Time: early, TimedOut: true, Error: "no answer in 2s"}
	refused := Health{Time: early, Refused: true, Error: "connection refused"}
	at := func(h Health, when time.Time) Health { h.Time = when; return h }
	for name, c := range map[string]struct {
		tap, path Health
		shape     registry.Shape
		want      map[Hop]bool
	}{
		"nobody asked":                     {},
		"at the tap: well":                 {tap: well, want: map[Hop]bool{Tap: true, Envd: true}},
		"at the tap: ill":                  {tap: Health{Time: early, Connected: true, Code: 500}, want: map[Hop]bool{Tap: true, Envd: false}},
		"at the tap: hung":                 {tap: hung, want: map[Hop]bool{Tap: true, Envd: false}},
		"at the tap: refused":              {tap: refused, want: map[Hop]bool{Tap: true, Envd: false}},
		"at the tap: silent":               {tap: silent, want: map[Hop]bool{Tap: false}},
		"at the tap: no such address":      {tap: Health{Time: early, Unreachable: true, Error: "no route to host"}, want: map[Hop]bool{Tap: false}},
		"at the tap: the question failed":  {tap: Health{Time: early, Error: "too many open files"}},
		"path: well":                       {path: well, shape: registry.Relay, want: map[Hop]bool{Proxy: true, Relay: true, Tap: true, Envd: true}},
		"path: well, without a relay":      {path: well, shape: registry.Fused, want: map[Hop]bool{Proxy: true, Tap: true, Envd: true}},
		"path: the proxy answers itself":   {path: Health{Time: early, Connected: true, Code: 502}, want: map[Hop]bool{Proxy: true}},
		"path: a page of another server":   {path: Health{Time: early, Connected: true, Code: 200}, want: map[Hop]bool{Proxy: true}},
		"path: it hangs, wherever":         {path: hung},
		"path: reset, by whomever":         {path: Health{Time: early, Connected: true, Error: "connection reset by peer"}},
		"path: nobody listens":             {path: refused, want: map[Hop]bool{Proxy: false}},
		"path: the proxy takes nothing":    {path: silent, want: map[Hop]bool{Proxy: false}},
		"path: the question failed":        {path: Health{Time: early, Error: "too many open files"}},
		"both: the proxy is gone":          {tap: well, path: refused, want: map[Hop]bool{Proxy: false, Tap: true, Envd: true}},
		"both: hung since":                 {tap: at(hung, late), path: well, shape: registry.Relay, want: map[Hop]bool{Proxy: true, Relay: true, Tap: true, Envd: false}},
		"both: it answers again":           {tap: hung, path: at(well, late), shape: registry.Fused, want: map[Hop]bool{Proxy: true, Tap: true, Envd: true}},
		"both: the later one tells little": {tap: hung, path: at(hung, late), want: map[Hop]bool{Tap: true, Envd: false}},
	} {
		t.Run(name, func(t *testing.T) {
			f := Facts{Sandbox: &Sandbox{Shape: c.shape}, Health: c.tap, Through: c.path}
			if got := f.Shown(); !maps.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// Where clients wait long, those that were answered before the fault are more for a while.
func TestFailing(t *testing.T) {
	start := time.Unix(1_000, 0)
	sec := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	wait := func(since float64) Wait { return Wait{Since: sec(since), Connecting: true} }
	answered := func(n int, good float64) Asked {
		return Asked{Ended: n, Last: sec(good), Good: sec(good), Well: sec(good - 1)}
	}
	for name, c := range map[string]struct {
		a     Asked
		waits []Wait
		now   float64
		want  bool
	}{
		"one waits":                        {answered(20, 10), []Wait{wait(10.1)}, 12, false},
		"one waits for 3 s":                {answered(20, 10), []Wait{wait(10.1)}, 13.2, true},
		"one was refused":                  {Asked{Ended: 5, Failed: 1, Last: sec(15), Good: sec(10), Row: 1, RowSince: sec(10.2)}, nil, 16, false},
		"one was lost":                     {Asked{Ended: 5, Failed: 1, By: map[Outcome]int{Lost: 1}, Last: sec(15), Good: sec(10), Row: 1, RowSince: sec(10.2)}, nil, 16, true},
		"two wait, not yet for 3 s":        {answered(20, 10), []Wait{wait(10.1), wait(10.2)}, 13, false},
		"two wait for 3 s":                 {answered(20, 10), []Wait{wait(10.1), wait(10.2)}, 13.2, true},
		"one was answered later":           {answered(20, 12), []Wait{wait(11.5), wait(11.6)}, 15, false},
		"the guest has them":               {answered(20, 10), []Wait{{Since: sec(10.1), Acked: true}, {Since: sec(10.2), Acked: true}}, 14, false},
		"two gave up, and two more wait":   {Asked{Ended: 22, Failed: 2, Last: sec(15), Good: sec(10), Well: sec(9), Row: 2, RowSince: sec(10.2)}, []Wait{wait(15.1), wait(15.2)}, 16, true},
		"two were refused, and none since": {Asked{Ended: 5, Failed: 2, Last: sec(15), Good: sec(10), Row: 2, RowSince: sec(10.2)}, nil, 26, false},
		"long ago":                         {Asked{Ended: 5, Failed: 2, Last: sec(15), Good: sec(10), Row: 2, RowSince: sec(10.2)}, nil, 80, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.a.Waits, c.a.Waiting = c.waits, len(c.waits)
			if got := c.a.Failing(sec(c.now)); got != c.want {
				t.Errorf("failing: %v", got)
			}
		})
	}
}
