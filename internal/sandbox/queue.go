package sandbox

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// BusyError is returned by Create where the launcher has no room for another sandbox
// now. Nothing was begun.
type BusyError struct {
	Why   string
	Quota bool          // the caller has as many as it may; others may still create
	Retry time.Duration // when it is worth trying again
}

func (e *BusyError) Error() string { return e.Why }

// queue lets so many sandboxes boot at a time; the others wait, in order.
type queue struct {
	most int // of those that wait

	mu      sync.Mutex
	free    int
	waiting []chan struct{} // closed when it is its turn
	took    time.Duration   // a usual boot
}

func newQueue(boots, most int) *queue { return &queue{free: boots, most: most, took: time.Second} }

// enter waits for a turn to boot; done gives it back, and may be called again. It
// fails at once where too many wait already, and when ctx ends. waits is told once
// where there is a wait, how many come before.
func (q *queue) enter(ctx context.Context, waits func(before int)) (done func(), err error) {
	q.mu.Lock()
	if q.free > 0 {
		q.free--
		q.mu.Unlock()
		return q.turn(), nil
	}
	before := len(q.waiting)
	if before >= q.most {
		retry := q.took * time.Duration(1+before/2)
		q.mu.Unlock()
		return nil, &BusyError{Why: fmt.Sprintf("%d sandboxes wait to boot already: try again later", before), Retry: retry}
	}
	mine := make(chan struct{})
	q.waiting = append(q.waiting, mine)
	q.mu.Unlock()
	waits(before)
	select {
	case <-mine:
		return q.turn(), nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, mine); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	} else { // its turn came in the same moment
		q.next()
	}
	return nil, fmt.Errorf("gave up waiting for a turn to boot: %w", context.Cause(ctx))
}

// turn is one boot that has begun.
func (q *queue) turn() (done func()) {
	began := time.Now()
	var once sync.Once
	return func() {
		once.Do(func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.took = (3*q.took + time.Since(began)) / 4
			q.next()
		})
	}
}

// next gives a turn to the first that waits; mu is held.
func (q *queue) next() {
	if len(q.waiting) == 0 {
		q.free++
		return
	}
	close(q.waiting[0])
	q.waiting = q.waiting[1:]
}
