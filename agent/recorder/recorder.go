// Package recorder is the flight recorder: it keeps the last events of each
// sandbox and its boot, for a while also of those that are gone.
package recorder

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tapwatch/agent/path"
)

const (
	// eventsKept is how many events a sandbox keeps: a boot makes ten, a loss of
	// carrier with its finding three.
	eventsKept = 64
	// keepGone is how long a sandbox that is gone is kept.
	keepGone = time.Hour
	// goneKept bounds the memory of a host that makes sandboxes by the thousand:
	// the longest gone give way.
	goneKept = 4096
)

// Recorder keeps histories. The zero value is not ready: use New.
type Recorder struct {
	mu   sync.Mutex
	of   map[string]*history
	gone []departed // the longest gone first
}

type history struct {
	path.Lived
	boot    *path.Boot
	events  []path.Event // a ring once full; the oldest is at next
	next    int
	dropped int
}

// departed is a stay that has ended. A sandbox may come again meanwhile.
type departed struct {
	id string
	at time.Time
}

// New returns a recorder without histories.
func New() *Recorder { return &Recorder{of: map[string]*history{}} }

// Note takes an event; one without a sandbox is nobody's.
func (r *Recorder) Note(e path.Event) {
	if e.SandboxID == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.of[e.SandboxID]
	if h == nil && e.Kind != path.Bound { // a straggler of one that is forgotten
		return
	}
	if h == nil {
		h = &history{Lived: path.Lived{SandboxID: e.SandboxID}}
		r.of[e.SandboxID] = h
	}
	h.Netns, h.Name = e.Netns, cmp.Or(e.Name, h.Name)
	h.add(e)
	switch e.Kind {
	case path.Bound:
		h.Gone = time.Time{}
	case path.Unbound, path.SlotRemoved:
		if h.Gone.IsZero() {
			h.Gone = e.Time
			r.gone = append(r.gone, departed{e.SandboxID, e.Time})
		}
	}
	r.forget(e.Time)
}

// Boot takes what is now known of a sandbox's boot, if it is a known sandbox.
func (r *Recorder) Boot(id string, b *path.Boot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.of[id]; h != nil {
		h.boot = b
	}
}

// History returns what happened to a sandbox, in the order of time.
func (r *Recorder) History(id string) (path.History, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(time.Now())
	h := r.of[id]
	if h == nil {
		return path.History{}, false
	}
	events := append(slices.Clone(h.events[h.next:]), h.events[:h.next]...)
	// Parts of the agent tell at their own pace.
	slices.SortStableFunc(events, func(a, b path.Event) int { return a.Time.Compare(b.Time) })
	return path.History{Lived: h.Lived, Boot: h.boot, Events: events, Dropped: h.dropped}, true
}

// Sandboxes returns all that have a history, those that are there first, then
// the longest gone last.
func (r *Recorder) Sandboxes() []path.Lived {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(time.Now())
	all := make([]path.Lived, 0, len(r.of))
	for _, h := range r.of {
		all = append(all, h.Lived)
	}
	slices.SortFunc(all, func(a, b path.Lived) int {
		if a.Gone.IsZero() != b.Gone.IsZero() {
			if a.Gone.IsZero() {
				return -1
			}
			return 1
		}
		return cmp.Or(b.Gone.Compare(a.Gone), cmp.Compare(a.SandboxID, b.SandboxID))
	})
	return all
}

func (h *history) add(e path.Event) {
	if len(h.events) < eventsKept {
		h.events = append(h.events, e)
		return
	}
	h.events[h.next] = e
	h.next = (h.next + 1) % eventsKept
	h.dropped++
}

// forget drops who is gone for too long, or is one too many.
func (r *Recorder) forget(now time.Time) {
	n := 0
	for n < len(r.gone) && (len(r.gone)-n > goneKept || now.Sub(r.gone[n].at) > keepGone) {
		d := r.gone[n]
		if h := r.of[d.id]; h != nil && h.Gone.Equal(d.at) { // else it came again
			delete(r.of, d.id)
		}
		n++
	}
	r.gone = slices.Delete(r.gone, 0, n)
}
