package discover

import (
	"tapwatch/agent/identity"
	"tapwatch/internal/e2b"
)

// named says whose slots namespaces are by their names alone. It keeps the answers as
// long as the rules are the same.
type named struct {
	rules *identity.Set
	plan  e2b.Plan
	slots map[string]*Slot // nil: nobody's
}

// by returns the answers by those rules for as many names: n itself where it has them,
// and where it does not hold the names of many namespaces that have gone.
func (n *named) by(rules *identity.Set, plan e2b.Plan, names int) *named {
	if n != nil && n.rules == rules && len(n.slots) <= 2*names+64 {
		return n
	}
	return &named{rules: rules, plan: plan, slots: make(map[string]*Slot, names)}
}

// slot returns whose slot a namespace of that name is, nil for nobody's.
func (n *named) slot(name string) *Slot {
	s, known := n.slots[name]
	if !known {
		s = n.read(name)
		n.slots[name] = s
	}
	return s
}

func (n *named) read(name string) *Slot {
	launcher, _, ok := n.rules.SlotOf(name)
	if !ok {
		return nil
	}
	s := &Slot{Launcher: launcher}
	if i, ok := e2b.Index(name); ok && launcher == "e2b" {
		s.Tap, s.HostVeth = e2b.Tap, e2b.HostVeth(i)
		s.Addrs = Addrs{Tap: e2b.TapIP(), Guest: e2b.GuestIP()}
		if at, ok := n.plan.Slot(i); ok {
			s.Addrs.Vpeer, s.Addrs.Client, s.Addrs.Host = at.VpeerIP, at.VethIP, at.HostIP
		}
	}
	return s
}
