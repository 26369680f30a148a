package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"tapwatch/agent/flow"
	"tapwatch/agent/httpapi"
	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/internal/netns"
	"tapwatch/internal/pairing"
)

// hops has the requests of every bound sandbox timed, and hands proxies the table
// in which they tell which of their sockets belong together.
type hops struct {
	flow    *flow.Flow // nil: not asked for, or not supported here
	pairing *pairing.Server
	slots   *slots.Slots
	log     *slog.Logger
	done    *collections
	looking sync.Mutex // what was read first is taken first
	waited  bool       // something did, at the last look
}

// newHops loads the programs. What they need and this kernel lacks is no reason to
// watch nothing at all: it is said, and the latencies are absent.
func newHops(cfg Config, s *slots.Slots, log *slog.Logger) (*hops, error) {
	h := &hops{slots: s, log: log}
	if cfg.NoHops {
		return h, nil
	}
	var err error
	h.flow, err = flow.Load(flow.Config{ProxyPort: cfg.proxy().Port(), ServicePort: cfg.ServicePort, PerSandbox: cfg.HopsPerSandbox})
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

const (
	// hopsEvery is how often the paths are compared, and looked at: a sandbox boots
	// longer than that.
	hopsEvery = time.Second
	// hopsSoon is how often they are looked at while something waits that is not
	// acknowledged.
	hopsSoon = 250 * time.Millisecond
	// waitsMost bounds what is kept of what waits at one point of a path.
	waitsMost = 16
)

func (h *hops) run(ctx context.Context) {
	if h.flow == nil {
		return
	}
	go h.pairing.Run()
	next := time.NewTimer(0)
	defer next.Stop()
	for measured := uint64(0); ; { // they are 0 only where there is no path
		if now := h.slots.Bindings(); now != measured {
			paths := h.paths()
			if err := errors.Join(h.flow.Keep(paths...), h.flow.Add(paths...)); err != nil {
				h.log.Warn("the latency of hops is not measured for all sandboxes", "err", err)
			} else {
				measured = now
			}
		}
		if h.look() {
			next.Reset(untilTick(hopsSoon))
		} else {
			next.Reset(untilTick(hopsEvery))
		}
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
	}
}

// look takes what was seen of every sandbox's hops until now, and reports whether
// something waits that may be lost.
func (h *hops) look() (waits bool) {
	if h.flow == nil {
		return false
	}
	h.looking.Lock()
	defer h.looking.Unlock()
	began := time.Now()
	var err error
	defer func() { h.done.did("requests", began, err) }()
	seen, err := h.flow.Seen()
	if err != nil {
		h.log.Warn("what traffic shows is not known", "err", err)
		return false
	}
	h.slots.TakeSights(sightsOf(seen))
	if !h.flow.Open() && !h.waited {
		return false
	}
	waiting, err := h.flow.Waiting()
	if err != nil {
		h.log.Warn("what waits for an answer is not known", "err", err)
		return false
	}
	h.waited = len(waiting) > 0
	h.slots.TakeWaits(waitsOf(waiting), time.Now())
	return slices.ContainsFunc(waiting, func(w flow.Waiting) bool { return !w.Acked })
}

// waitsOf turns what waits into what slots keeps.
func waitsOf(all []flow.Waiting) map[netns.Cookie]slots.Waits {
	slices.SortFunc(all, func(a, b flow.Waiting) int { return a.Since.Compare(b.Since) })
	of := map[netns.Cookie]slots.Waits{}
	for _, one := range all {
		w := of[one.Netns]
		to := &w.Guest
		if one.Of == flow.OfRelay {
			to = &w.Relay
		}
		to.All++
		to.Some = append(to.Some, one.Wait)
		of[one.Netns] = w
	}
	for c, w := range of {
		w.Relay.Some, w.Guest.Some = spread(w.Relay.Some), spread(w.Guest.Some)
		of[c] = w
	}
	return of
}

// spread keeps so many of a list as is kept of what waits: the first, the last, and
// those evenly in between.
func spread(all []path.Wait) []path.Wait {
	if len(all) <= waitsMost {
		return all
	}
	some := make([]path.Wait, waitsMost)
	for i := range some {
		some[i] = all[i*(len(all)-1)/(waitsMost-1)]
	}
	return some
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

// sightsOf turns what was seen into what slots keeps.
func sightsOf(seen map[netns.Cookie]flow.Seen) map[netns.Cookie]slots.Sight {
	of := make(map[netns.Cookie]slots.Sight, len(seen))
	for c, s := range seen {
		var t slots.Traces
		for i := range t { // flow.Hops and slots.Traced are in one order, which a test holds
			t[i] = path.Seen{Good: s.Good[i], Bad: s.Bad[i]}
		}
		of[c] = slots.Sight{Traces: t, Relay: slots.Counted(s.Asked[flow.OfRelay]), Guest: slots.Counted(s.Asked[flow.OfGuest])}
	}
	return of
}

// paths is where the requests to the sandboxes pass.
func (h *hops) paths() (all []flow.Path) {
	for _, p := range h.slots.Paths() {
		all = append(all, flow.Path{Netns: p.Netns, Tap: uint32(p.Tap), Guest: p.Addrs.Guest, Vpeer: p.Addrs.Vpeer, HostIP: p.Addrs.Host})
	}
	return all
}

// latency is how long requests took in the hops of a slot: its own where they are
// measured, else those of the host.
func (h *hops) latency(s *path.Slot) []httpapi.HopTime {
	all := h.stats()
	if all == nil {
		return nil
	}
	var out []httpapi.HopTime
	own := all.Sandboxes[s.Cookie]
	for i, hop := range flow.Hops {
		of, host := all.Hops[hop], true
		if own != nil {
			of, host = own[i].Histogram, false
		}
		if of.Count > 0 {
			out = append(out, httpapi.HopTime{Hop: hop, Requests: of.Count, Sum: of.Sum.Seconds(), Median: of.Quantile(0.5), P99: of.Quantile(0.99), Host: host})
		}
	}
	return out
}

// hostname is what this host calls itself; empty: unknown.
func hostname() string {
	name, _ := os.Hostname()
	return name
}
