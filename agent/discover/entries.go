package discover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

// merge makes the entries anew and tells what has changed.
func (w *Watcher) merge(ctx context.Context) {
	now := time.Now()
	w.learnNames()
	spaces := w.spaces(w.entries) // only this goroutine writes entries
	w.named = w.named.by(w.who.rules.Load(), w.cfg.Plan, len(w.names.bound))
	records, alive := w.recorded()
	claims := sources{records, slices.Collect(maps.Values(w.procs.found)), remember(alive), w.named}.index()
	if lost := len(claims.vmms[0]); lost > 0 {
		w.failed(fmt.Errorf("read the namespaces of %d VMMs: needs CAP_SYS_PTRACE", lost))
	}
	next := make(map[netns.Cookie]*Entry, len(spaces))
	for c, n := range spaces {
		e := &Entry{*n, claims.slot(n), claims.vmms[c]}
		if old := w.entries[c]; old != nil && old.equal(e) {
			e = old
		}
		next[c] = e
	}
	changes := diff(w.entries, next, now)
	if len(changes) == 0 && w.known() {
		next = nil // what there is says the same and has no garbage to leave
	}
	w.publish(next)
	w.stats.scans.Add(1)
	for _, c := range changes {
		select {
		case w.changes <- c:
		case <-ctx.Done():
			return
		}
	}
}

// diff orders what has gone before what is new: a name or nsid that changed
// hands is free before it is taken. Of what is new, slots with a sandbox come
// first: among thousands they are what somebody waits for.
func diff(old, next map[netns.Cookie]*Entry, now time.Time) []Change {
	var gone, come []Change
	for _, c := range slices.Sorted(maps.Keys(old)) {
		if next[c] == nil {
			gone = append(gone, Change{Time: now, Old: old[c]})
		}
	}
	for _, c := range slices.Sorted(maps.Keys(next)) {
		if old[c] != next[c] {
			come = append(come, Change{Time: now, Old: old[c], New: next[c]})
		}
	}
	slices.SortStableFunc(come, func(a, b Change) int { return cmp.Compare(a.New.rank(), b.New.rank()) })
	return append(gone, come...)
}

// rank is 0 of a namespace with a sandbox, 1 of an idle slot, 2 of others.
func (e *Entry) rank() int {
	switch {
	case len(e.VMMs) > 0 || e.Slot != nil && e.Slot.Record != nil && e.Slot.Record.Sandbox != nil:
		return 0
	case e.Slot != nil:
		return 1
	}
	return 2
}

func (w *Watcher) known() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ready
}

// publish shows the new entries, nil for those that are, to all readers.
func (w *Watcher) publish(next map[netns.Cookie]*Entry) {
	byNSID := make(map[netns.NSID]*Entry, len(next))
	for _, e := range next {
		if e.NSID != netns.NoNSID {
			byNSID[e.NSID] = e
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = true
	if next != nil {
		w.entries, w.byNSID = next, byNSID
	}
}

// Snapshot returns every namespace, ordered by cookie.
func (w *Watcher) Snapshot() []Entry {
	w.mu.Lock()
	entries := w.entries
	w.mu.Unlock()
	all := make([]Entry, 0, len(entries)) // the map itself is never written to again
	for _, c := range slices.Sorted(maps.Keys(entries)) {
		all = append(all, *entries[c])
	}
	return all
}

// Get returns one namespace.
func (w *Watcher) Get(c netns.Cookie) (Entry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.entries[c]; e != nil {
		return *e, true
	}
	return Entry{}, false
}

// Holder returns who a process is that holds a tap of that name and kind ("tap",
// "macvtap"); false where it has ended. Of a process that may not be looked into only
// its command and its arguments are known.
func (w *Watcher) Holder(pid int, device, kind string) (*VMM, bool) {
	return w.who.holder(pid, device, kind)
}

// Holders says which processes hold taps now: the others are forgotten.
func (w *Watcher) Holders(living map[proc.Process]bool) { w.who.forget(living) }

// Self returns the cookie of the agent's own namespace; 0 before Run.
func (w *Watcher) Self() netns.Cookie {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.self
}

// Resolve returns whose an nsid is, checked with the kernel at this moment; it
// is what link.Config asks for. False where no namespace known here has it.
func (w *Watcher) Resolve(id netns.NSID) (netns.Cookie, bool) {
	w.mu.Lock()
	e := w.byNSID[id]
	w.mu.Unlock()
	if e == nil {
		return 0, false
	}
	if e.Path == "" { // nameless: there is nothing to check by but the table
		return e.Cookie, true
	}
	f, err := os.Open(e.Path)
	switch {
	case errors.Is(err, os.ErrNotExist) && !strings.HasPrefix(e.Path, "/proc/"):
		return 0, false
	case err != nil: // the process has gone, or no descriptor is left: that says nothing of the namespace
		return e.Cookie, true
	}
	defer f.Close()
	// A cookie is never another's, and a living namespace keeps its nsid: where the
	// file still shows the namespace that had this nsid, it has it. Asking for the
	// nsid would cost the kernel a walk over all of them.
	c, err := netns.CookieOfFile(f)
	if err != nil && !errors.Is(err, netns.ErrNotExist) {
		return e.Cookie, true
	}
	return c, err == nil && c == e.Cookie
}
