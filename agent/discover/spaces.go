package discover

import (
	"cmp"
	"slices"

	"tapwatch/agent/identity"
	"tapwatch/internal/netns"
)

// spaces builds the namespaces from names and VMMs: of each its names, and a
// way to enter it. Those known before that have lost all names are kept while
// their nsid is in use: something still holds them.
func (w *Watcher) spaces(before map[netns.Cookie]*Entry) map[netns.Cookie]*Namespace {
	all := map[netns.Cookie]*Namespace{}
	taken := map[netns.NSID]bool{}
	for name, p := range w.names.bound {
		n := all[p.cookie]
		if n == nil {
			n = &Namespace{Cookie: p.cookie, NSID: p.nsid, Inode: p.inode}
			all[p.cookie] = n
			taken[p.nsid] = true
		}
		n.Names = append(n.Names, name)
	}
	rules := w.who.rules.Load()
	for _, n := range all {
		slices.Sort(n.Names)
		n.Name = label(n.Names, rules)
		n.Path = netns.Path(n.Name)
	}
	w.addOwn(all)
	w.addHeld(all, taken)
	w.keepNameless(all, taken, before)
	w.recall(all, before)
	return all
}

// recall gives namespaces without a name the one that they had, unless another has it
// by now: then it would stand for two.
func (w *Watcher) recall(all map[netns.Cookie]*Namespace, before map[netns.Cookie]*Entry) {
	for c, n := range all {
		old := before[c]
		if old == nil || n.Name != "" {
			continue
		}
		last := cmp.Or(old.Name, old.Last)
		if now, taken := w.names.bound[last]; !taken || now.cookie == c {
			n.Last = last
		}
	}
}

// addOwn adds the agent's own namespace, which may have names like any other.
func (w *Watcher) addOwn(all map[netns.Cookie]*Namespace) {
	n := all[w.self]
	if n == nil {
		n = &Namespace{Cookie: w.self, Inode: w.procs.self}
		all[w.self] = n
	}
	n.Host, n.NSID, n.Path = true, netns.NoNSID, netns.Own
}

// addHeld adds the namespaces that only processes and threads show: of VMMs, and
// of all others that are in none that is known by now.
func (w *Watcher) addHeld(all map[netns.Cookie]*Namespace, taken map[netns.NSID]bool) {
	for pid, v := range w.procs.found {
		if v.Netns != 0 && all[v.Netns] == nil {
			w.addHeldBy(member{pid: pid}, all, taken)
		}
	}
	known := map[uint64]bool{}
	for _, n := range all {
		known[n.Inode] = true
	}
	for inode, m := range w.procs.outside {
		if !known[inode] {
			w.addHeldBy(m, all, taken)
		}
	}
	for m, p := range w.held {
		if n := all[p.cookie]; n == nil || n.Path != m.path() {
			delete(w.held, m)
		}
	}
}

// addHeldBy adds the namespace that a process or thread is in now.
func (w *Watcher) addHeldBy(m member, all map[netns.Cookie]*Namespace, taken map[netns.NSID]bool) {
	p, err := w.names.visit(m.path(), w.held[m])
	w.failed(err)
	if err != nil || p.cookie == w.self || all[p.cookie] != nil {
		return
	}
	w.held[m] = p
	all[p.cookie] = &Namespace{Cookie: p.cookie, NSID: p.nsid, Inode: p.inode, Path: m.path()}
	taken[p.nsid] = true
}

// keepNameless keeps those whose nsid is in use and no other's.
func (w *Watcher) keepNameless(all map[netns.Cookie]*Namespace, taken map[netns.NSID]bool, before map[netns.Cookie]*Entry) {
	var live map[netns.NSID]bool
	for c, e := range before {
		if all[c] != nil || e.NSID == netns.NoNSID || taken[e.NSID] || w.ended[e.NSID] {
			continue
		}
		if live == nil {
			live = w.liveNSIDs()
		}
		if live == nil || live[e.NSID] { // where that cannot be asked, none has gone
			all[c] = &Namespace{Cookie: c, NSID: e.NSID, Inode: e.Inode}
		}
	}
	clear(w.ended)
}

// liveNSIDs are those in use; nil: that could not be asked.
func (w *Watcher) liveNSIDs() map[netns.NSID]bool {
	ids, err := netns.ListNSIDs(w.conn)
	if err != nil {
		w.failed(err)
		return nil
	}
	live := make(map[netns.NSID]bool, len(ids))
	for _, id := range ids {
		live[id] = true
	}
	return live
}

// label picks the name to show of several in order: the first that the rules know for
// a slot's, else the first.
func label(names []string, rules *identity.Set) string {
	if len(names) > 1 {
		if i := slices.IndexFunc(names, rules.Slot); i >= 0 {
			return names[i]
		}
	}
	return names[0]
}
