package agent

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/path"
	"tapwatch/agent/prober"
)

// health asks the envd of every sandbox for its health now and then, where the
// operator wants it: traffic alone cannot tell a daemon that hangs from one that
// works on a long request.
type health struct {
	model *model
	every time.Duration // 0: never

	mu     sync.Mutex
	counts map[string]uint64 // by result
}

const (
	// healthAtOnce is how many wait for an answer at a time.
	healthAtOnce = 16
	// healthMost bounds the questions of one second.
	healthMost = 64
)

func (h *health) run(ctx context.Context) {
	if h.every == 0 {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.round(ctx, now)
		}
	}
}

func (h *health) round(ctx context.Context, now time.Time) {
	var g errgroup.Group
	g.SetLimit(healthAtOnce)
	for _, t := range h.due(now) {
		g.Go(func() error {
			got := prober.Health(ctx, t.path, netip.AddrPortFrom(t.guest, envdPort))
			if ctx.Err() == nil {
				h.count(got)
				h.model.healthIs(t, got)
			}
			return nil
		})
	}
	_ = g.Wait() // nobody returns an error
}

// due returns the sandboxes whose turn it is, as far as they can be asked.
func (h *health) due(now time.Time) (due []target) {
	h.model.mu.Lock()
	defer h.model.mu.Unlock()
	for s := range h.model.bound {
		t := targetOf(s)
		ready := s.tap != nil && carrierOf(s.tap) == path.Yes && s.diagnosis.State != path.Booting
		if len(due) < healthMost && ready && t.path != "" && t.guest.IsValid() && now.Sub(s.health.Time) >= h.every {
			due = append(due, t)
		}
	}
	return due
}

func (h *health) count(got path.Health) {
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
	if h.counts == nil {
		h.counts = map[string]uint64{}
	}
	h.counts[result]++
}

// results counts what came of the questions.
func (h *health) results() map[string]uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[string]uint64, len(h.counts))
	for k, n := range h.counts {
		out[k] = n
	}
	return out
}

// healthIs takes an answer, and runs the checks.
func (m *model) healthIs(t target, got path.Health) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := t.slot
	if m.slots[s.entry.Cookie] == s && !s.entry.Binding.Idle && vmmOf(s.entry) == t.pid {
		s.health = got
		m.diagnose(s, time.Now())
	}
}
