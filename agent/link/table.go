package link

import (
	"maps"
	"slices"
	"sync"
	"time"

	"tapwatch/internal/netns"
)

// table is the state: one goroutine changes it, any may read it.
type table struct {
	mu       sync.Mutex
	byNSID   map[netns.NSID]*namespace
	byCookie map[netns.Cookie]*namespace
	snapshot []*Link // nil after a change
	lag      Lag
}

func newTable() *table {
	return &table{byNSID: map[netns.NSID]*namespace{}, byCookie: map[netns.Cookie]*namespace{}, lag: newLag()}
}

// known returns the namespace of an nsid, nil where its cookie is not known.
func (t *table) known(id netns.NSID) *namespace {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byNSID[id]
}

// of returns the namespace of a cookie, nil where none of its links are kept.
func (t *table) of(c netns.Cookie) *namespace {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byCookie[c]
}

// bind notes whose an nsid is. The nsid must be free: drop its last owner first.
func (t *table) bind(id netns.NSID, cookie netns.Cookie) *namespace {
	t.mu.Lock()
	defer t.mu.Unlock()
	ns := &namespace{nsid: id, cookie: cookie}
	t.byNSID[id], t.byCookie[cookie] = ns, ns
	return ns
}

// drop forgets a namespace and returns the removals of its links.
func (t *table) drop(ns *namespace, now time.Time, asked bool) []Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byNSID, ns.nsid)
	if t.byCookie[ns.cookie] == ns {
		delete(t.byCookie, ns.cookie)
	}
	t.snapshot = nil
	var cs []Change
	for _, l := range ns.links {
		cs = append(cs, Change{Time: now, Old: l, Asked: asked})
	}
	return cs
}

// put records the state of a link. An event that is older than what is known is
// passed over; an answer to a question cannot be, so where it is behind, the
// interface is another one with the same number.
func (t *table) put(ns *namespace, l Link, now time.Time, asked bool) []Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.NSID, l.Netns = ns.nsid, ns.cookie
	old := ns.get(l.Ifindex)
	switch {
	case old == nil:
		if !asked {
			l.Changed = now
		}
	case l.behind(old) && !asked:
		return nil
	case l.behind(old):
		return append(t.set(ns, nil, old, now, asked), t.set(ns, &l, nil, now, asked)...)
	case l.same(old):
		return nil
	default:
		if l.Changed = old.Changed; l.moved(old) {
			l.Changed = now
		}
	}
	t.lag.follow(old, &l, now)
	return t.set(ns, &l, old, now, asked)
}

// remove forgets one link.
func (t *table) remove(ns *namespace, i netns.Ifindex, now time.Time, asked bool) []Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := ns.get(i)
	if old == nil {
		return nil
	}
	return t.set(ns, nil, old, now, asked)
}

func (t *table) set(ns *namespace, l, old *Link, now time.Time, asked bool) []Change {
	t.snapshot = nil
	ns.replace(old, l)
	return []Change{{Time: now, Old: old, New: l, Asked: asked}}
}

// get returns what is known of one link, or nil.
func (t *table) get(k netns.Device) *Link {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ns := t.byCookie[k.Netns]; ns != nil {
		return ns.get(k.Ifindex)
	}
	return nil
}

// taps returns the taps of a namespace, and whether its links are known.
func (t *table) taps(c netns.Cookie) ([]*Link, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ns := t.byCookie[c]
	if ns == nil {
		return nil, false
	}
	return slices.Clone(ns.taps), len(ns.links) > 0 // every namespace has lo
}

// completed notes that all links of a namespace have been read.
func (t *table) completed(ns *namespace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ns.complete = true
}

// isComplete says whether all links of a namespace have been read.
func (t *table) isComplete(c netns.Cookie) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ns := t.byCookie[c]
	return ns != nil && ns.complete
}

// peer returns the other end of a link. Known is false where its namespace is not.
func (t *table) peer(l *Link) (peer *Link, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ns := t.byCookie[l.Netns]
	if l.PeerNSID != netns.NoNSID {
		ns = t.byNSID[l.PeerNSID]
	}
	if ns == nil || len(ns.links) == 0 {
		return nil, false
	}
	return ns.get(l.Peer), true
}

// all returns every link, ordered by namespace and number. The slice is shared
// by its readers until the next change.
func (t *table) all() []*Link {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.snapshot == nil {
		n := 0
		for _, ns := range t.byCookie {
			n += len(ns.links)
		}
		t.snapshot = make([]*Link, 0, n)
		for _, c := range slices.Sorted(maps.Keys(t.byCookie)) {
			t.snapshot = append(t.snapshot, t.byCookie[c].links...)
		}
	}
	return t.snapshot
}

// in returns the links of one namespace, ordered by number.
func (t *table) in(c netns.Cookie) []*Link {
	t.mu.Lock()
	defer t.mu.Unlock()
	ns := t.byCookie[c]
	if ns == nil {
		return nil
	}
	return slices.Clone(ns.links)
}

// ids returns the nsids whose links are kept.
func (t *table) ids() []netns.NSID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.byNSID))
}

// missing returns the links of a namespace that are not among those there, by
// number.
func (t *table) missing(ns *namespace, there map[netns.Ifindex]bool) []netns.Ifindex {
	t.mu.Lock()
	defer t.mu.Unlock()
	var gone []netns.Ifindex
	for _, l := range ns.links {
		if !there[l.Ifindex] {
			gone = append(gone, l.Ifindex)
		}
	}
	return gone
}
