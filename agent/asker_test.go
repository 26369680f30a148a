package agent

import (
	"context"
	"testing"
	"time"

	"tapwatch/agent/slots"
)

// The rest after long work is reckoned from its end: what is asked for when that is over
// does not wait.
func TestAskerRestsFromTheEndOfWork(t *testing.T) {
	t.Parallel()
	const rest = 2 * time.Second
	a := newAsker(0, 1000, rest)
	worked := make(chan time.Time)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.run(ctx, func([]slots.Key) { time.Sleep(10 * time.Millisecond); worked <- time.Now() })
	}()
	t.Cleanup(func() { stop(); <-done })
	a.ask()
	first := <-worked
	a.ask()
	if second := <-worked; second.Sub(first) < rest {
		t.Errorf("asked for at once: rested for %v", second.Sub(first))
	}
	time.Sleep(rest)
	asked := time.Now()
	a.ask()
	if took := (<-worked).Sub(asked); took >= rest {
		t.Errorf("asked for after the rest: waited %v", took)
	}
}
