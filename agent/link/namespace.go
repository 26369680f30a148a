package link

import (
	"cmp"
	"slices"

	"tapwatch/internal/netns"
)

// namespace holds the links of one namespace whose cookie is known. There may be
// ten thousand namespaces with three links each, and one with ten thousand links:
// slices in order take a third of the memory that maps do.
type namespace struct {
	complete bool // all links have been read at least once
	nsid     netns.NSID
	cookie   netns.Cookie
	links    []*Link // by number
	taps     []*Link // those of links that are taps, by number
}

// get returns the link of that number, or nil.
func (ns *namespace) get(i netns.Ifindex) *Link {
	if at, found := position(ns.links, i); found {
		return ns.links[at]
	}
	return nil
}

// replace puts l in the place of old. Old is nil for a link that is new, and l
// for one that has gone.
func (ns *namespace) replace(old, l *Link) {
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
