package agent

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/metrics"
	"tapwatch/agent/path"
	"tapwatch/agent/prober"
	"tapwatch/agent/slots"
)

// health asks the envd of every idle sandbox for its health now and then, where the
// operator wants it, straight at the tap and through the whole path. A sandbox whose
// requests are answered is not idle; one whose requests wait is: traffic alone cannot
// tell a daemon that hangs from one that works on a long request.
type health struct {
	slots *slots.Slots
	hops  *hops
	proxy netip.AddrPort
	port  uint16        // of envd
	path  string        // of its health
	every time.Duration // 0: never
	// silent is how long nobody must have asked a sandbox for anything until it is asked,
	// once, as proxies ask; 0: never.
	silent time.Duration

	mu     sync.Mutex
	counts map[metrics.Asked]uint64
	took   [slots.Ways]*slots.Times // of questions that were answered
}

const (
	// healthAtOnce is how many wait for an answer at a time.
	healthAtOnce = 16
	// healthMost bounds the questions of one time, of both ways together.
	healthMost = 64
	// healthTick is the time between two rounds.
	healthTick = time.Second
)

// wayNames are as the metrics have them.
var wayNames = [slots.Ways]string{"tap", "path", "relay"}

// askedBounds are the upper bounds of the histograms of answers' times.
var askedBounds = []time.Duration{
	100 * time.Microsecond, 160 * time.Microsecond, 250 * time.Microsecond, 400 * time.Microsecond, 630 * time.Microsecond,
	time.Millisecond, 1600 * time.Microsecond, 2500 * time.Microsecond, 4 * time.Millisecond, 6300 * time.Microsecond,
	10 * time.Millisecond, 16 * time.Millisecond, 25 * time.Millisecond, 40 * time.Millisecond, 63 * time.Millisecond,
	100 * time.Millisecond, 160 * time.Millisecond, 250 * time.Millisecond, 400 * time.Millisecond, 630 * time.Millisecond,
	time.Second, 1600 * time.Millisecond, 2500 * time.Millisecond, 4 * time.Second, prober.Patience,
}

func newHealth(cfg Config, s *slots.Slots, hops *hops) *health {
	h := &health{slots: s, hops: hops, proxy: cfg.proxy(), port: cfg.ServicePort, path: cfg.HealthPath, every: cfg.ProbeEvery, silent: cfg.ProbeSilent, counts: map[metrics.Asked]uint64{}}
	for w := range h.took {
		h.took[w] = slots.NewTimes(askedBounds)
	}
	return h
}

// asks says whether the agent may send sandboxes requests of its own.
func (h *health) asks() bool { return h.every > 0 || h.silent > 0 }

func (h *health) run(ctx context.Context) {
	if !h.asks() {
		return
	}
	rounds(ctx, func() time.Duration { return healthTick }, healthAtOnce, h.round)
}

// round puts the questions that are due, and waits for no answer unless too many are
// waited for already.
func (h *health) round(ctx context.Context, g *errgroup.Group, now time.Time) {
	var due slots.Due
	if h.every > 0 {
		h.hops.look()                              // what real traffic has shown until now
		due.Idle = now.Add(healthTick/2 - h.every) // a tick may come early
	}
	if h.silent > 0 && h.hops.flow != nil { // else nobody counts what comes of it
		due.Silent = now.Add(healthTick/2 - h.silent)
		due.Slow = now.Add(-path.SlowAfter)
	}
	for _, q := range h.slots.DueQuestions(now, due, healthMost) {
		g.Go(func() error {
			got := h.ask(ctx, q)
			if ctx.Err() == nil {
				h.count(q.Way, got)
				h.slots.TakeAnswer(q, got, prober.Patience, true)
			}
			return nil
		})
	}
}

func (h *health) ask(ctx context.Context, q slots.Question) path.Health {
	if q.Way == slots.ThroughPath {
		return prober.Through(ctx, h.proxy, q.Sandbox, h.port, h.path)
	}
	if to := q.Reached(); q.Way == slots.AsProxy && to.IsValid() {
		return prober.Once(ctx, netip.AddrPortFrom(to, h.port), h.path)
	}
	return prober.Health(ctx, q.Path, netip.AddrPortFrom(q.Addrs.Guest, h.port), h.path)
}

func (h *health) count(w slots.Way, got path.Health) {
	result := "ok"
	switch {
	case !got.Connected:
		result = "not connected"
	case got.Error != "":
		result = "no answer"
	case got.Code >= 400:
		result = "ill"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[metrics.Asked{Way: wayNames[w], Result: result}]++
	if got.Code != 0 {
		h.took[w].Observe(got.Took)
	}
}

// results tells the metrics what came of the questions.
func (h *health) results(s *metrics.Snapshot) {
	if !h.asks() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Asked, s.AskedTook = maps.Clone(h.counts), map[string]metrics.Histogram{}
	for w := range slots.Ways {
		s.AskedTook[wayNames[w]] = histogram(h.took[w].Clone())
	}
}
