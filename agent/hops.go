package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/pairing"
	"tapwatch/internal/registry"
)

// hops has the requests of every bound sandbox timed, and hands proxies the table
// in which they tell which of their sockets belong together.
type hops struct {
	flow    *flow.Flow // nil: not asked for, or not supported here
	pairing *pairing.Server
	model   *model
	log     *slog.Logger
	looking sync.Mutex // what was read first is taken first
}

// newHops loads the programs. What they need and this kernel lacks is no reason to
// watch nothing at all: it is said, and the latencies are absent.
func newHops(cfg Config, m *model, log *slog.Logger) (*hops, error) {
	h := &hops{model: m, log: log}
	if cfg.NoHops {
		return h, nil
	}
	var err error
	h.flow, err = flow.Load(flow.Config{ProxyPort: cfg.Proxy.Port(), PerSandbox: cfg.HopsPerSandbox})
	if err != nil {
		log.Warn("the latency of hops is not measured", "err", err)
		return h, nil
	}
	for _, lack := range h.flow.Lacks() {
		log.Warn("the latency of hops is measured in part", "err", lack)
	}
	h.pairing, err = pairing.Listen(cfg.RunDir, h.flow.Told().FD())
	return h, err
}

// hopsEvery is how often the paths are compared: a sandbox boots longer than that.
const hopsEvery = time.Second

func (h *hops) run(ctx context.Context) {
	if h.flow == nil {
		return
	}
	go h.pairing.Run()
	tick := time.NewTicker(hopsEvery)
	defer tick.Stop()
	for measured := uint64(0); ; { // no model's bindings are 0 once it has a path
		if now := h.model.bindings.Load(); now != measured {
			paths := h.model.paths()
			if err := errors.Join(h.flow.Keep(paths...), h.flow.Add(paths...)); err != nil {
				h.log.Warn("the latency of hops is not measured for all sandboxes", "err", err)
			} else {
				measured = now
			}
		}
		h.look()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look takes what was seen of every sandbox's hops until now.
func (h *hops) look() {
	if h.flow == nil {
		return
	}
	h.looking.Lock()
	defer h.looking.Unlock()
	seen, err := h.flow.Seen()
	if err != nil {
		h.log.Warn("what traffic shows is not known", "err", err)
		return
	}
	h.model.seen(seen)
}

// stats reads what was measured; nil: it is not known.
func (h *hops) stats() *flow.Stats {
	if h.flow == nil {
		return nil
	}
	s, err := h.flow.Read()
	if err != nil {
		h.log.Warn("read the latency of hops", "err", err)
		return nil
	}
	return &s
}

// HopTime is the median of a hop, to 9%, over all requests so far.
type HopTime struct {
	Hop      path.Hop
	Requests uint64
	Median   time.Duration
}

// HopTimes are the hops that requests were measured in; none where that is not
// known.
func (a *Agent) HopTimes() []HopTime {
	s := a.hops.stats()
	if s == nil {
		return nil
	}
	var all []HopTime
	for _, hop := range flow.Hops {
		if h := s.Hops[hop]; h.Count > 0 {
			all = append(all, HopTime{hop, h.Count, time.Duration(h.Quantile(0.5) * float64(time.Second))})
		}
	}
	return all
}

func (h *hops) close() error {
	if h == nil || h.flow == nil {
		return nil
	}
	var err error
	if h.pairing != nil {
		err = h.pairing.Close()
	}
	if err := errors.Join(err, h.flow.Close()); err != nil {
		return fmt.Errorf("end the measuring of hops: %w", err)
	}
	return nil
}

// seen takes what traffic has newly shown of the hops.
func (m *model) seen(fresh map[netns.Cookie]flow.Seen) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c, now := range fresh {
		s := m.slots[c]
		if _, bound := m.bound[s]; !bound {
			continue
		}
		if s.seen == nil {
			s.seen = &traffic{}
		}
		if s.seen.takes(now, &s.asked) {
			s.changed()
		}
	}
}

// seenOf is that, as facts.
func seenOf(s flow.Seen) map[path.Hop]path.Seen {
	if s == (flow.Seen{}) {
		return nil
	}
	of := map[path.Hop]path.Seen{}
	for i, hop := range flow.Hops {
		if !s.Good[i].IsZero() || !s.Bad[i].IsZero() {
			of[hop] = path.Seen{Good: s.Good[i], Bad: s.Bad[i]}
		}
	}
	return of
}

// paths is where the requests to bound sandboxes pass.
func (m *model) paths() []flow.Path {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]flow.Path, 0, len(m.bound))
	for s := range m.bound {
		if p, ok := pathOf(s.entry.Binding.Shape, &s.addrs); ok {
			p.Netns = s.entry.Cookie
			if s.tap != nil {
				p.Tap = uint32(s.tap.Ifindex)
			}
			all = append(all, p)
		}
	}
	return all
}

// pathOf leaves out what a path of that shape has not. Of a foreign one the shape is
// unknown: it has whatever is used.
func pathOf(shape registry.Shape, at *addrs) (p flow.Path, ok bool) {
	if p.Guest = at.guest; !p.Guest.Is4() {
		return p, false
	}
	if shape == registry.Relay || shape == "" {
		p.Vpeer = at.vpeer
	}
	if shape == registry.DNAT || shape == "" {
		p.HostIP = at.host
	}
	return p, true
}
