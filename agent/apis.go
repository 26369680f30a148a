package agent

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/firecracker"
	"tapwatch/agent/slots"
)

// apis asks VMMs by their APIs, those that have one: of sandboxes in trouble, and whether
// they are paused as they come and where they may have changed. Else they are left alone:
// what a VMM was told does not change.
type apis struct {
	slots *slots.Slots
	wake  chan struct{} // holds one
}

func newAPIs(s *slots.Slots) *apis { return &apis{slots: s, wake: make(chan struct{}, 1)} }

// ask has what is due asked soon, without waiting.
func (a *apis) ask() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
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
	tick := newTicks(apisEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.again()
		case <-a.wake: // at once: once it writes a snapshot it answers nobody for long
		}
		var g errgroup.Group
		g.SetLimit(apisAtOnce)
		for _, t := range a.slots.DueAPIs(apisMost) {
			g.Go(func() error {
				if got := firecracker.Ask(ctx, t.VMM.PID, t.Socket); ctx.Err() == nil {
					a.slots.TakeAPI(t, got)
				}
				return nil
			})
		}
		_ = g.Wait() // nobody returns an error
	}
}
