package agent

import (
	"fmt"
	"sync/atomic"
	"time"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/path"
)

// inForce are the rules of the operator that hold now.
type inForce struct {
	rules  atomic.Pointer[Rules]
	checks atomic.Pointer[diagnose.Set]
}

func (i *inForce) put(r *Rules) {
	checks := diagnose.Checks.With(r.Checks)
	i.rules.Store(r)
	i.checks.Store(&checks)
}

// Levels is what is switched off or demoted now.
func (a *Agent) Levels() path.Levels { return a.inForce.rules.Load().Checks }

// Reconfigure puts other rules into force, all of them or none. It needs no
// capability.
func (a *Agent) Reconfigure(r Rules) error {
	set, err := r.compile()
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	a.inForce.put(&r)
	a.discover.Use(set)
	a.slots.Reconsider(time.Now())
	a.holding.ask(a.slots.Taps()...)
	return nil
}

// ignored says whether the operator wants to hear nothing of a tap.
func (a *Agent) ignored(netns, device, holder string) bool {
	for _, i := range a.inForce.rules.Load().Ignore {
		if i.Matches(netns, device, holder) {
			return true
		}
	}
	return false
}

// silenced returns the silence that holds for a sandbox; nil: none does.
func (a *Agent) silenced(netns, id, name string, now time.Time) *path.Silence {
	for _, s := range a.inForce.rules.Load().Silence {
		if s.Matches(netns, id, now) || name != "" && s.Matches(netns, name, now) {
			return &path.Silence{Until: s.Until, Reason: s.Reason}
		}
	}
	return nil
}
