package probe

import (
	"slices"
	"strings"
)

// labelMax is CLS_BPF_NAME_LEN of net/sched/cls_bpf.c less the final zero.
const labelMax = 255

// label is what the name of a filter tells to whoever finds it on a device, in
// any mount namespace: `tc filter show` prints it.
type label struct {
	program string // of directions
	owner   Owner  // zero: of a version of Tapwatch that did not say
	clsact  bool   // the owner made the qdisc too
	dir     string // the owner's hooks directory, in its mount namespace; empty where it is too long
}

func (l label) String() string {
	s := l.program + ",owner=" + l.owner.String()
	if l.clsact {
		s += ",clsact"
	}
	if with := s + ",dir=" + l.dir; l.dir != "" && len(with) <= labelMax {
		s = with
	}
	return s
}

// parseLabel says whether a filter's name is one of ours.
func parseLabel(name string) (l label, ok bool) {
	program, rest, says := strings.Cut(name, ",")
	if !slices.ContainsFunc(directions, func(dir direction) bool { return dir.name == program }) {
		return label{}, false
	}
	l.program = program
	if !says { // an older version's
		return l, true
	}
	owner, rest, _ := strings.Cut(rest, ",")
	hex, ok := strings.CutPrefix(owner, "owner=")
	if !ok {
		return l, false
	}
	var err error
	if l.owner, err = parseOwner(hex); err != nil {
		return l, false
	}
	if word, after, _ := strings.Cut(rest, ","); word == "clsact" {
		l.clsact, rest = true, after
	}
	l.dir, _ = strings.CutPrefix(rest, "dir=")
	return l, true
}

// label is that of our filter of a direction.
func (h hooks) label(direction int, clsact bool) string {
	return label{program: directions[direction].name, owner: h.owner, clsact: clsact, dir: h.dir}.String()
}

// Ours says whether a tc filter of that name is a Tapwatch's, whichever.
func Ours(name string) bool {
	_, ok := parseLabel(name)
	return ok
}
