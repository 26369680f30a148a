package probe

import "strings"

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
	program, rest, found := strings.Cut(name, ",")
	ok = false
	for _, dir := range directions {
		ok = ok || program == dir.name
	}
	l.program = program
	if !ok || !found {
		return l, ok // an older version's, or not ours
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
	if rest == "clsact" || strings.HasPrefix(rest, "clsact,") {
		l.clsact = true
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, "clsact"), ",")
	}
	l.dir, _ = strings.CutPrefix(rest, "dir=")
	return l, true
}

// label is that of our filter of a direction.
func (h hooks) label(direction int, clsact bool) string {
	return label{program: directions[direction].name, owner: h.owner, clsact: clsact, dir: h.dir}.String()
}
