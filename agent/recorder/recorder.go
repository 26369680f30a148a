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
	journal *Journal // nil: what is forgotten here is gone
	reading sync.Mutex
	read    map[string]read // by who was asked for

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

// New returns a recorder without histories of its own. What it takes is kept in the
// journal too, where there is one, and asked for there once it is forgotten here.
func New(j *Journal) *Recorder { return &Recorder{journal: j, of: map[string]*history{}} }

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
	e.Name = cmp.Or(e.Name, h.Name)
	h.Netns, h.Name = e.Netns, e.Name
	r.journal.note(entry{Event: &e})
	h.add(e)
	switch e.Kind {
	case path.Bound:
		h.Gone = time.Time{}
	case path.Unbound, path.SlotRemoved:
		if h.Gone.IsZero() {
			h.Gone = e.Time
			if h.boot != nil && !h.boot.Complete() {
				r.journal.note(entry{BootOf: e.SandboxID, Boot: h.boot})
			}
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
		if b != nil && b.Complete() && (h.boot == nil || !h.boot.Complete()) {
			r.journal.note(entry{BootOf: id, Boot: b})
		}
		h.boot = b
	}
}

// History returns what happened to a sandbox, in the order of time: what is known here,
// and before that what the journal has. One that is gone for long may be asked for by its
// name too.
func (r *Recorder) History(id string) (path.History, bool) {
	h, here := r.recent(id)
	if here && h.Dropped == 0 && r.journal == nil {
		return h, true
	}
	r.reading.Lock() // one reads the files at a time
	defer r.reading.Unlock()
	old, ok := r.read[id]
	if !ok || time.Since(old.at) > readAgain {
		var err error
		if old, err = r.journal.historyOf(id); err != nil {
			r.journal.cfg.Log.Warn("the history on disk is not known", "err", err)
			return h, here
		}
	}
	if !here {
		h.Lived = old.Lived
	}
	if len(h.Events) > 0 {
		n, _ := slices.BinarySearchFunc(old.Events, h.Events[0].Time, func(e path.Event, t time.Time) int { return e.Time.Compare(t) })
		old.Events = old.Events[:n:n]
	}
	h.Events = append(old.Events, h.Events...)
	if old.Boot != nil && (h.Boot == nil || !h.Boot.Watched) {
		h.Boot = old.Boot
	}
	if len(old.Events) > 0 { // what the ring has lost is among them
		h.Dropped = old.Dropped
	}
	if r.read == nil || len(r.read) >= readMost {
		r.read = map[string]read{}
	}
	r.read[id] = read{h, old.at}
	return h, here || len(h.Events) > 0
}

const (
	// readAgain is how long what was read of one sandbox holds: who looks at it asks
	// every two seconds.
	readAgain = time.Minute
	// readMost bounds how many sandboxes that is kept of.
	readMost = 64
)

// read is a history with what the journal had of it, and when that was read.
type read struct {
	path.History
	at time.Time
}

// historyOf is what the journal has of a sandbox, by its id or its name: of several of
// one name the last.
func (j *Journal) historyOf(who string) (read, error) {
	h := read{at: time.Now()}
	events, dropped, boots, err := j.Past(path.Question{Sandbox: who})
	if err != nil || len(events) == 0 {
		return h, err
	}
	last := events[len(events)-1]
	if last.SandboxID != who {
		return j.historyOf(last.SandboxID)
	}
	h.Lived = path.Lived{SandboxID: last.SandboxID, Name: last.Name, Netns: last.Netns, Gone: last.Time}
	h.Events = slices.DeleteFunc(events, func(e path.Event) bool { return e.SandboxID != who })
	h.Boot, h.Dropped = boots[who], dropped
	return h, nil
}

// Past returns the latest events of the journal that fit, in the order of time, and how
// many more there are.
func (r *Recorder) Past(q path.Question) (events []path.Event, more int, err error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	events, more, _, err = r.journal.Past(q)
	return events, more, err
}

// recent is what is known here.
func (r *Recorder) recent(id string) (path.History, bool) {
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
