package agent

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/firecracker"
	"tapwatch/agent/path"
)

// apis asks the VMMs of sandboxes in trouble by their APIs, those that have one.
// The others are left alone: what a VMM was told does not change, and one that is
// paused while nobody wants anything of it is in no trouble.
type apis struct {
	model *model
}

const (
	// apisEvery is the time between two questions to one VMM.
	apisEvery = 2 * time.Second
	// apisAtOnce is how many wait for an answer at a time.
	apisAtOnce = 16
	// apisMost bounds the questions of one time.
	apisMost = 32
)

func (a *apis) run(ctx context.Context) {
	tick := time.NewTicker(apisEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var g errgroup.Group
		g.SetLimit(apisAtOnce)
		for _, t := range a.due() {
			g.Go(func() error {
				if got := firecracker.Ask(ctx, t.pid, t.socket); ctx.Err() == nil {
					a.model.apiIs(t, got)
				}
				return nil
			})
		}
		_ = g.Wait() // nobody returns an error
	}
}

func (a *apis) due() (due []target) {
	a.model.mu.Lock()
	defer a.model.mu.Unlock()
	for s := range a.model.bound {
		b := s.entry.Binding
		switch {
		case b.APISocket == "" || vmmOf(s.entry) == 0 || b.VMMAlive == path.No:
		case !s.troubled():
			if s.api != nil && s.api.Error != "" { // a silence that nobody minded
				s.api = nil
			}
		case len(due) < apisMost:
			due = append(due, targetOf(s))
		}
	}
	return due
}

// apiIs takes an answer, and runs the checks.
func (m *model) apiIs(t target, got *path.VMMAPI) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := t.slot
	if m.slots[s.entry.Cookie] != s || s.entry.Binding.Idle || vmmOf(s.entry) != t.pid {
		return
	}
	if got.Error != "" {
		switch {
		case got.Answered: // what nobody understands is no silence
		case s.api != nil && !s.api.SilentSince.IsZero():
			got.SilentSince = s.api.SilentSince
		default:
			got.SilentSince = got.Time
		}
		if s.api != nil { // what it was told does not change
			got.Interfaces = s.api.Interfaces
		}
	}
	s.api = got
	m.diagnose(s, time.Now())
}
