package agent

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/firecracker"
	"tapwatch/agent/slots"
)

// apis asks the VMMs of sandboxes in trouble by their APIs, those that have one.
// The others are left alone: what a VMM was told does not change, and one that is
// paused while nobody wants anything of it is in no trouble.
type apis struct {
	slots *slots.Slots
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
