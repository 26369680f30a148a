package link

import (
	"cmp"
	"slices"

	"tapwatch/internal/netns"
)

// manyLinks is from how many links on a namespace has an index of names.
const manyLinks = 32

// namespace holds the links of one namespace whose cookie is known. There may be
// ten thousand namespaces with three links each, and one with ten thousand links:
// slices in order take a third of the memory that maps do.
type namespace struct {
	complete bool // all links have been read at least once
	nsid     netns.NSID
	cookie   netns.Cookie
	links    []*Link // by number
	taps     []*Link // those of links that are taps, by number
	// names is made when the first name is looked for among many links.
	names map[string]*Link
}

// get returns the link of that number, or nil.
func (ns *namespace) get(i netns.Ifindex) *Link {
	if at, found := position(ns.links, i); found {
		return ns.links[at]
	}
	return nil
}

// find returns the link of that name, or nil.
func (ns *namespace) find(name string) *Link {
	if ns.names == nil && len(ns.links) >= manyLinks {
		ns.names = make(map[string]*Link, len(ns.links))
		for _, l := range ns.links {
			ns.names[l.Name] = l
		}
	}
	if ns.names != nil {
		return ns.names[name]
	}
	if i := slices.IndexFunc(ns.links, func(l *Link) bool { return l.Name == name }); i >= 0 {
		return ns.links[i]
	}
	return nil
}

// replace puts l in the place of old. Old is nil for a link that is new, and l
// for one that has gone.
func (ns *namespace) replace(old, l *Link) {
	if old != nil {
		ns.forgetName(old)
	}
	switch {
	case l == nil:
		ns.links = without(ns.links, old.Ifindex)
		ns.taps = without(ns.taps, old.Ifindex)
		return
	case l.IsTap():
		ns.taps = with(ns.taps, l)
	default:
		ns.taps = without(ns.taps, l.Ifindex)
	}
	ns.links = with(ns.links, l)
	if ns.names != nil {
		ns.names[l.Name] = l
	}
}

// forgetName takes a name out of the index, unless another link has it by now:
// where events were lost, a dump may show the name's next owner first.
func (ns *namespace) forgetName(l *Link) {
	if ns.names[l.Name] == l {
		delete(ns.names, l.Name)
	}
}

// position returns where the link of that number is or belongs.
func position(ls []*Link, i netns.Ifindex) (int, bool) {
	return slices.BinarySearchFunc(ls, i, func(l *Link, i netns.Ifindex) int { return cmp.Compare(l.Ifindex, i) })
}

// with puts a link in its place, instead of one of the same number.
func with(ls []*Link, l *Link) []*Link {
	at, found := position(ls, l.Ifindex)
	if found {
		ls[at] = l
		return ls
	}
	return slices.Insert(ls, at, l)
}

// without takes the link of that number out.
func without(ls []*Link, i netns.Ifindex) []*Link {
	if at, found := position(ls, i); found {
		return slices.Delete(ls, at, at+1)
	}
	return ls
}
