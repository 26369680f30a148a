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
	"tapwatch/internal/e2b"
)

// health asks the envd of every idle sandbox for its health now and then, where the
// operator wants it, straight at the tap and through the whole path. A sandbox whose
// requests are answered is not idle; one whose requests wait is: traffic alone cannot
// tell a daemon that hangs from one that works on a long request.
type health struct {
	model *model
	hops  *hops
	proxy netip.AddrPort
	every time.Duration // 0: never

	mu     sync.Mutex
	counts map[metrics.Asked]uint64
	took   [ways]*times // of questions that were answered
}

const (
	// healthAtOnce is how many wait for an answer at a time.
	healthAtOnce = 16
	// healthMost bounds the questions of one time, of both ways together.
	healthMost = 64
	// healthTick is the time between two rounds.
	healthTick = time.Second
)

// way is where a question enters the path.
type way int

const (
	atTap way = iota
	throughPath
	ways
)

// wayNames are as the metrics have them.
var wayNames = [ways]string{"tap", "path"}

// shows is the hop by whose answers to real requests a question is spared: what is
// in front of the tap may be broken while envd answers others.
var shows = [ways]path.Hop{path.Envd, path.Proxy}

// askedBounds are the upper bounds of the histograms of answers' times.
var askedBounds = []time.Duration{
	250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond, 8 * time.Millisecond, 16 * time.Millisecond,
	32 * time.Millisecond, 64 * time.Millisecond, 128 * time.Millisecond, 256 * time.Millisecond, 512 * time.Millisecond, 1024 * time.Millisecond, 2048 * time.Millisecond, prober.Patience,
}

type question struct {
	target
	way way
	id  string // of the sandbox
}

func newHealth(cfg Config, m *model, hops *hops) *health {
	h := &health{model: m, hops: hops, proxy: cfg.Proxy, every: cfg.ProbeEvery, counts: map[metrics.Asked]uint64{}}
	for w := range h.took {
		h.took[w] = newTimes(askedBounds)
	}
	return h
}

func (h *health) run(ctx context.Context) {
	if h.every == 0 {
		return
	}
	var g errgroup.Group
	g.SetLimit(healthAtOnce)
	defer func() { _ = g.Wait() }() // nobody returns an error
	tick := time.NewTicker(healthTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.round(ctx, &g, now)
		}
	}
}

// round puts the questions that are due, and waits for no answer unless too many are
// waited for already.
func (h *health) round(ctx context.Context, g *errgroup.Group, now time.Time) {
	h.hops.look() // what real traffic has shown until now
	for _, q := range h.due(now) {
		g.Go(func() error {
			got := h.ask(ctx, q)
			if ctx.Err() == nil {
				h.count(q.way, got)
				h.model.answered(q, got)
			}
			return nil
		})
	}
}

func (h *health) ask(ctx context.Context, q question) path.Health {
	if q.way == throughPath {
		return prober.Through(ctx, h.proxy, q.id, e2b.EnvdPort)
	}
	return prober.Health(ctx, q.path, netip.AddrPortFrom(q.guest, e2b.EnvdPort))
}

// due returns the questions whose turn it is, of the sandboxes that can be asked.
func (h *health) due(now time.Time) (due []question) {
	h.model.mu.Lock()
	defer h.model.mu.Unlock()
	since := now.Add(healthTick/2 - h.every) // a tick may come early
	for s := range h.model.bound {
		if len(due)+int(ways) > healthMost {
			break
		}
		t := targetOf(s)
		ready := s.tap != nil && carrierOf(s.tap) == path.Yes && s.diagnosis.State != path.Booting
		if !ready || s.asked.open > 0 || t.path == "" || !t.guest.IsValid() {
			continue
		}
		for w := range ways {
			if s.asked.at[w].Before(since) && !s.served(shows[w], since) {
				s.asked.begins(w, now)
				due = append(due, question{target: t, way: w, id: s.entry.Binding.SandboxID})
			}
		}
	}
	return due
}

func (h *health) count(w way, got path.Health) {
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
		h.took[w].observe(got.Took)
	}
}

// results tells the metrics what came of the questions.
func (h *health) results(s *metrics.Snapshot) {
	if h.every == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Asked, s.AskedTook = maps.Clone(h.counts), map[string]metrics.Histogram{}
	for w := range ways {
		s.AskedTook[wayNames[w]] = h.took[w].histogram()
	}
}

// answered takes what came of a question that was due.
func (m *model) answered(q question, got path.Health) {
	m.mu.Lock()
	q.slot.asked.ends(got)
	m.mu.Unlock()
	m.healthIs(q, got)
}

// healthIs takes an answer, and runs the checks.
func (m *model) healthIs(q question, got path.Health) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := q.slot
	if m.slots[s.entry.Cookie] != s || s.entry.Binding.Idle || vmmOf(s.entry) != q.pid || s.entry.Binding.SandboxID != q.id {
		return
	}
	if q.way == throughPath {
		s.through = got
		s.changed()
		return
	}
	s.health = got
	m.diagnose(s, time.Now())
}
