package identity

import (
	"path"
	"slices"
	"strings"

	"tapwatch/internal/clean"
)

// Set is compiled rules. It may be used by many goroutines at once.
type Set struct {
	rules       []*compiled // that give an identity; the first that holds does
	decorations []*compiled // that add to it
	byNetns     []*compiled // those of rules that ask for the namespace's name alone
	labels      []string
	users       []uint32
	jails       []string
}

// Labels returns the names of all labels that rules may set, sorted.
func (s *Set) Labels() []string { return slices.Clone(s.labels) }

// Identify returns who it is. The process that holds a tap is believed, whatever
// its name and whoever runs it: it needed permission to open the tap. Of processes
// that hold none, ask for those alone that Claims believes.
func (s *Set) Identify(f Facts) Identity {
	id := Identity{Role: RoleUnknown}
	v := newView(f)
	if f.Launcher != "" {
		id = Identity{
			SandboxID: clean.Label(f.SandboxID), Name: clean.Label(f.Name), Template: clean.Label(f.Template),
			Launcher: clean.Label(f.Launcher), Role: RoleVMM, Rule: "record",
		}
		if f.SandboxID == "" {
			id.Role = RoleSlot
		}
	} else {
		for _, r := range s.rules {
			if r.identify(&v, &id) {
				break
			}
		}
	}
	switch socket := v.apiSocket(); {
	case socket == "" && id.Role == RoleVMM:
		id.APISocket = v.defaultSocket()
	case id.Role == RoleVMM || id.Role == RoleUnknown:
		id.APISocket = showable(socket)
	}
	if len(s.decorations) > 0 {
		v.Launcher, v.SandboxID, v.Template = id.Launcher, id.SandboxID, id.Template // what they may ask for
		for _, r := range s.decorations {
			if values, ok := r.match(&v); ok {
				r.decorate(&id, values)
			}
		}
	}
	return id
}

// showable returns an absolute path that can be shown as it is, and "" for others.
func showable(p string) string {
	if !path.IsAbs(p) || clean.Text(p) != p {
		return ""
	}
	return p
}

// Claim says what a process's command line makes of it.
type Claim uint8

// The claims. A process that anybody may have started, under any name, is in doubt.
const (
	NoClaim  Claim = iota
	Doubtful       // it looks like a VMM, and nothing shows that it is one
	Believed
)

// Claim returns whether a process looks like a VMM, by its program and its
// arguments, and whether to believe it. Use it for processes that hold no tap.
// A process of root or of Options.VMMUsers is believed. A process of another user is
// believed where two things hold: its executable, not only its first argument, has a
// VMM's name; and root alone can have put it where it is, into a namespace with a
// name or into a jail below Options.JailBases.
func (s *Set) Claim(f Facts) Claim {
	v := newView(f)
	for _, r := range s.rules {
		if !r.holds(&v) {
			continue
		}
		switch {
		case !r.claims:
			if r.role == RoleIgnore {
				return NoClaim
			}
			continue
		case f.UID == 0, slices.Contains(s.users, f.UID), r.byExecutable(&v) && s.placed(&v.Facts):
			return Believed
		}
		return Doubtful
	}
	return NoClaim
}

// Claims reports whether Claim is Believed.
func (s *Set) Claims(f Facts) bool { return s.Claim(f) == Believed }

// placed reports whether root alone can have put a process where it is.
func (s *Set) placed(f *Facts) bool {
	if f.Netns != "" && !f.Host {
		return true
	}
	return slices.ContainsFunc(s.jails, func(dir string) bool {
		return strings.HasPrefix(f.Root, dir) && strings.HasPrefix(f.Root[len(dir):], "/")
	})
}

// Slot reports whether the name of a namespace says that it is a launcher's slot.
// It does not allocate.
func (s *Set) Slot(netns string) bool {
	r := s.namedSlot(netns)
	return r != nil && r.role == RoleSlot
}

// SlotOf returns which launcher's slot a namespace is, and its number, by its name
// alone.
func (s *Set) SlotOf(netns string) (launcher, slot string, ok bool) {
	r := s.namedSlot(netns)
	if r == nil || r.role != RoleSlot {
		return "", "", false
	}
	var id Identity
	v := newView(Facts{Netns: netns})
	r.identify(&v, &id)
	return id.Launcher, id.Slot, true
}

// namedSlot returns the first of the rules that ask for a namespace's name alone,
// and hold.
func (s *Set) namedSlot(netns string) *compiled {
	if netns == "" {
		return nil
	}
	v := newView(Facts{Netns: netns})
	for _, r := range s.byNetns {
		if r.holds(&v) {
			return r
		}
	}
	return nil
}

// Ignored reports whether the rules say that a tap is of no interest, by what is
// known of it so far: the names of its namespace and its device, its kind, and the
// command that holds it, if any. The first rule that holds for these is asked.
// Identify says it too, and knows more.
func (s *Set) Ignored(f Facts) bool {
	v := newView(f)
	for _, r := range s.rules {
		if r.holds(&v) && (len(r.sandboxID.texts) == 0 || r.identify(&v, new(Identity))) {
			return r.role == RoleIgnore
		}
	}
	return false
}
