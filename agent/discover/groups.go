package discover

import (
	"maps"
	"sync"

	"tapwatch/agent/identity"
)

// groups bounds how many values each group label has, since every one makes a series:
// the values of what strangers may choose would have no end.
type groups struct {
	most int // values of one label; 0: any

	mu     sync.Mutex
	values map[string]map[string]bool // by label
}

// Other is the value of a label that has too many.
const Other = "other"

// bounded returns the identity with the values that are over the bound replaced.
func (g *groups) bounded(id identity.Identity) identity.Identity {
	if id.Team == "" && len(id.Labels) == 0 {
		return id
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	id.Team = g.admit("team", id.Team)
	id.Labels = maps.Clone(id.Labels)
	for label, value := range id.Labels {
		id.Labels[label] = g.admit(label, value)
	}
	return id
}

func (g *groups) admit(label, value string) string {
	of := g.values[label]
	switch {
	case value == "" || g.most == 0 || of[value]:
		return value
	case len(of) >= g.most:
		return Other
	}
	if g.values == nil {
		g.values = map[string]map[string]bool{}
	}
	if of == nil {
		of = map[string]bool{}
		g.values[label] = of
	}
	of[value] = true
	return value
}
