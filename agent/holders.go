package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/probe"
)

const (
	// holdersDelay gathers the changes of many taps into one reading of all holders.
	holdersDelay = 10 * time.Millisecond
	// holdersRest bounds the rest between two readings, which else is such that no
	// more than a tenth of the time goes into them.
	holdersRest = 250 * time.Millisecond
)

// holders reads who holds the taps that changed, all of them at once, in a
// goroutine of its own, and has the checks run over those slots after it.
type holders struct {
	model *model
	log   *slog.Logger

	mu    sync.Mutex
	asked map[*slot]bool
	wake  chan struct{} // holds one
}

func newHolders(m *model, log *slog.Logger) *holders {
	return &holders{model: m, log: log.With("part", "holders"), asked: map[*slot]bool{}, wake: make(chan struct{}, 1)}
}

// ask wants to know who holds the taps of these slots.
func (h *holders) ask(slots ...*slot) {
	h.mu.Lock()
	for _, s := range slots {
		if s != nil {
			h.asked[s] = true
		}
	}
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *holders) run(ctx context.Context) {
	var took time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(holdersDelay, min(9*took, holdersRest))):
		}
		h.mu.Lock()
		asked := slices.Collect(maps.Keys(h.asked))
		h.asked = map[*slot]bool{}
		h.mu.Unlock()
		began := time.Now()
		h.read(asked)
		took = time.Since(began)
	}
}

// read asks the kernel, and tells those that were asked about. A slot whose tap
// changes meanwhile asks again.
func (h *holders) read(asked []*slot) {
	if len(asked) == 0 {
		return
	}
	all, err := h.model.probe.Holders()
	if err != nil {
		h.log.Debug("read holders", "err", err)
	}
	of := h.model.holdersOf(all)
	h.model.eachOf(asked, func(s *slot) {
		s.holders = nil
		if s.tap != nil && err == nil {
			s.holders = of[probe.Device{Netns: s.entry.Cookie, Ifindex: probe.Ifindex(s.tap.Ifindex)}]
			if len(s.holders) > 0 {
				h.model.phase(s, path.TapAttached, time.Now())
			} else {
				s.holders = []path.Holder{} // nobody, which is not the same as unknown
			}
		}
		s.look()
		h.model.diagnose(s, time.Now())
	})
}

// holdersOf puts what the kernel says of processes in the words of slots.
func (m *model) holdersOf(all []probe.Holder) map[probe.Device][]path.Holder {
	m.mu.Lock()
	defer m.mu.Unlock()
	vmms := make(map[int]string, len(m.bound))
	for s := range m.bound {
		vmms[s.entry.Binding.VMM.PID] = s.entry.Binding.SandboxID
	}
	of := map[probe.Device][]path.Holder{}
	for _, f := range all {
		h := path.Holder{PID: f.PID, Command: f.Command, SameNS: f.ProcessNetns == f.Tap.Netns, SandboxID: vmms[f.PID]}
		if s := m.slots[f.ProcessNetns]; s != nil {
			h.Netns = s.entry.Name
		}
		of[f.Tap] = append(of[f.Tap], h)
	}
	return of
}
