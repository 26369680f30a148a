package agent

import (
	"fmt"
	"log/slog"
	"time"

	"tapwatch/agent/discover"
	"tapwatch/agent/holders"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

const (
	// holdersDelay gathers the changes of many taps into one reading of all holders.
	holdersDelay = 10 * time.Millisecond
	// holdersRest bounds the rest between two readings, which else is such that no
	// more than a tenth of the time goes into them.
	holdersRest = 250 * time.Millisecond
)

// holding reads who holds the taps that changed, all of them at once, in a
// goroutine of its own, and has the checks run over those slots after it.
type holding struct {
	*asker
	reader   *holders.Reader
	model    *model
	discover *discover.Watcher
	log      *slog.Logger
}

func newHolding(r *holders.Reader, m *model, d *discover.Watcher, log *slog.Logger) *holding {
	return &holding{reader: r, asker: newAsker(holdersDelay, 9, holdersRest), model: m, discover: d, log: log.With("part", "holders")}
}

// read asks the kernel, and tells those that were asked about. A slot whose tap
// changes meanwhile asks again.
func (h *holding) read(asked []*slot) {
	if len(asked) == 0 {
		return
	}
	all, err := h.reader.Read()
	if err != nil {
		h.log.Debug("read holders", "err", err)
	}
	of := h.model.holdersOf(all)
	byPID := map[int][]holders.Holder{}
	for _, f := range all {
		byPID[f.PID] = append(byPID[f.PID], f)
	}
	h.model.eachOf(asked, func(s *slot) {
		s.holders, s.held = nil, nil
		if pid := vmmOf(s.entry); pid != 0 && err == nil {
			s.held = h.held(s, byPID[pid])
		}
		if s.tap != nil && err == nil {
			s.holders = of[netns.Device{Netns: s.entry.Cookie, Ifindex: s.tap.Ifindex}]
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
func (m *model) holdersOf(all []holders.Holder) map[netns.Device][]path.Holder {
	m.mu.Lock()
	defer m.mu.Unlock()
	vmms := make(map[int]string, len(m.bound))
	for s := range m.bound {
		vmms[s.entry.Binding.VMM.PID] = s.entry.Binding.SandboxID
	}
	of := map[netns.Device][]path.Holder{}
	for _, f := range all {
		h := path.Holder{PID: f.PID, Command: f.Command, SameNS: f.ProcessNetns == f.Tap.Netns, SandboxID: vmms[f.PID]}
		if s := m.slots[f.ProcessNetns]; s != nil {
			h.Netns = s.entry.Name
		}
		of[f.Tap] = append(of[f.Tap], h)
	}
	return of
}

// heldMost bounds what is told of the taps that a VMM has open, of those in its
// slot's namespace and of those elsewhere. It has one; by a fault a few. One
// process that is the VMM of a thousand slots would be told of in a million lines.
const heldMost = 8

// held names the taps that a VMM has open.
func (h *holding) held(s *slot, by []holders.Holder) []path.HeldTap {
	held := []path.HeldTap{}
	here, elsewhere := 0, 0
	for _, f := range by {
		t := path.HeldTap{Device: f.TapName, Here: f.Tap.Netns == s.entry.Cookie, Netns: s.entry.Name}
		n := &here
		if !t.Here {
			n = &elsewhere
		}
		if *n++; *n > heldMost {
			continue
		}
		if !t.Here {
			t.Netns = h.nameOf(f.Tap.Netns)
		}
		held = append(held, t)
	}
	return held
}

// nameOf is a namespace's name, or words for one that has none.
func (h *holding) nameOf(c netns.Cookie) string {
	if e, ok := h.discover.Get(c); ok && e.Name != "" {
		return e.Name
	}
	return fmt.Sprintf("the namespace with cookie %d", c)
}
