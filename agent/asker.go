package agent

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// asker gathers the slots that something was told of and has them worked on
// together: soon, and in a bounded part of the time.
type asker struct {
	delay time.Duration // in which a burst is gathered
	share int           // how many times its own duration the work rests
	rest  time.Duration // the longest rest

	mu    sync.Mutex
	asked map[*slot]bool
	wake  chan struct{} // holds one
}

func newAsker(delay time.Duration, share int, rest time.Duration) *asker {
	return &asker{delay: delay, share: share, rest: rest, asked: map[*slot]bool{}, wake: make(chan struct{}, 1)}
}

// ask has these slots worked on; nil stands for none. It does not wait.
func (a *asker) ask(slots ...*slot) {
	a.mu.Lock()
	for _, s := range slots {
		if s != nil {
			a.asked[s] = true
		}
	}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run works until the context ends.
func (a *asker) run(ctx context.Context, work func([]*slot)) {
	var took time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(a.delay, min(time.Duration(a.share)*took, a.rest))):
		}
		a.mu.Lock()
		asked := slices.Collect(maps.Keys(a.asked))
		a.asked = map[*slot]bool{}
		a.mu.Unlock()
		began := time.Now()
		work(asked)
		took = time.Since(began)
	}
}
