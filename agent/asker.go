package agent

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/slots"
)

// asker gathers the places that work is asked for, and has it done together: soon, and
// in a bounded part of the time.
type asker struct {
	delay time.Duration // in which a burst is gathered
	share int           // how many times its own duration the work rests
	rest  time.Duration // the longest rest

	mu    sync.Mutex
	asked map[slots.Key]bool
	wake  chan struct{} // holds one
}

func newAsker(delay time.Duration, share int, rest time.Duration) *asker {
	return &asker{delay: delay, share: share, rest: rest, asked: map[slots.Key]bool{}, wake: make(chan struct{}, 1)}
}

// rounds calls round again and again until the context ends, as often as every says each
// time, with a group in which at most so many pieces of work run at a time, and then waits
// for them. The work returns no error.
func rounds(ctx context.Context, every func() time.Duration, atOnce int, round func(context.Context, *errgroup.Group, time.Time)) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	defer func() { _ = g.Wait() }()
	tick := newTicks(every())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			round(ctx, &g, now)
			tick.every = every()
			tick.again()
		}
	}
}

// ask has these places worked on, without waiting. Work that is for no place is asked
// for without any.
func (a *asker) ask(keys ...slots.Key) {
	a.mu.Lock()
	for _, k := range keys {
		a.asked[k] = true
	}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run works until the context ends.
func (a *asker) run(ctx context.Context, work func([]slots.Key)) {
	var took time.Duration
	var ended time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(a.delay, min(time.Duration(a.share)*took, a.rest)-time.Since(ended))):
		}
		a.mu.Lock()
		asked := slices.Collect(maps.Keys(a.asked))
		a.asked = map[slots.Key]bool{}
		a.mu.Unlock()
		began := time.Now()
		work(asked)
		ended = time.Now()
		took = ended.Sub(began)
	}
}
