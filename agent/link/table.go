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
	snapshot []Link // nil after a change
	lag      Lag
}

// namespace holds the links of one namespace whose cookie is known.
type namespace struct {
	nsid   netns.NSID
	cookie netns.Cookie
	links  map[netns.Ifindex]*Link
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
	ns := &namespace{id, cookie, map[netns.Ifindex]*Link{}}
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
	for _, i := range slices.Sorted(maps.Keys(ns.links)) {
		cs = append(cs, Change{Time: now, Old: ns.links[i], Asked: asked})
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
	old := ns.links[l.Ifindex]
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
	old := ns.links[i]
	if old == nil {
		return nil
	}
	return t.set(ns, nil, old, now, asked)
}

func (t *table) set(ns *namespace, l, old *Link, now time.Time, asked bool) []Change {
	t.snapshot = nil
	if l == nil {
		delete(ns.links, old.Ifindex)
	} else {
		ns.links[l.Ifindex] = l
	}
	return []Change{{Time: now, Old: old, New: l, Asked: asked}}
}

// get returns what is known of one link, or nil.
func (t *table) get(k netns.Device) *Link {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ns := t.byCookie[k.Netns]; ns != nil {
		return ns.links[k.Ifindex]
	}
	return nil
}

// find returns the link of that name, and whether the namespace's links are known.
func (t *table) find(c netns.Cookie, name string) (*Link, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ns := t.byCookie[c]
	if ns == nil {
		return nil, false
	}
	for _, l := range ns.links {
		if l.Name == name {
			return l, true
		}
	}
	return nil, len(ns.links) > 0 // every namespace has lo
}

// all returns every link, ordered by namespace and number. The slice is shared
// by its readers until the next change.
func (t *table) all() []Link {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.snapshot == nil {
		n := 0
		for _, ns := range t.byCookie {
			n += len(ns.links)
		}
		t.snapshot = make([]Link, 0, n)
		for _, c := range slices.Sorted(maps.Keys(t.byCookie)) {
			t.snapshot = t.byCookie[c].appendTo(t.snapshot)
		}
	}
	return t.snapshot
}

// in returns the links of one namespace, ordered by number.
func (t *table) in(c netns.Cookie) []Link {
	t.mu.Lock()
	defer t.mu.Unlock()
	ns := t.byCookie[c]
	if ns == nil {
		return nil
	}
	return ns.appendTo(nil)
}

// appendTo adds the links of a namespace, ordered by number.
func (ns *namespace) appendTo(ls []Link) []Link {
	for _, i := range slices.Sorted(maps.Keys(ns.links)) {
		ls = append(ls, *ns.links[i])
	}
	return ls
}

// ids returns the nsids whose links are kept.
func (t *table) ids() []netns.NSID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.byNSID))
}

// missing returns the links of a namespace that are not among those there.
func (t *table) missing(ns *namespace, there map[netns.Ifindex]bool) []netns.Ifindex {
	t.mu.Lock()
	defer t.mu.Unlock()
	var gone []netns.Ifindex
	for i := range ns.links {
		if !there[i] {
			gone = append(gone, i)
		}
	}
	slices.Sort(gone)
	return gone
}
