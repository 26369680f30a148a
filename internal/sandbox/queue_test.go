package sandbox

import (
	"context"
	"errors"
	"testing"
)

// Turns come in order; who gives up loses its place, and only its own.
func TestQueue(t *testing.T) {
	q := newQueue(1, 3)
	none := func(int) { t.Error("it has to wait") }
	first, err := q.enter(t.Context(), none)
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		name string
		done func()
		err  error
	}
	entered := make(chan entry)
	wait := func(ctx context.Context, name string, before int) {
		waits := make(chan int)
		go func() {
			done, err := q.enter(ctx, func(n int) { waits <- n })
			entered <- entry{name, done, err}
		}()
		if n := <-waits; n != before {
			t.Errorf("%s: %d before it, want %d", name, n, before)
		}
	}
	leaving, leave := context.WithCancel(t.Context())
	wait(t.Context(), "a", 0)
	wait(leaving, "b", 1)
	wait(t.Context(), "c", 2)
	var busy *BusyError
	if _, err := q.enter(t.Context(), none); !errors.As(err, &busy) || busy.Quota || busy.Retry <= 0 {
		t.Errorf("the queue is full: %v", err)
	}
	leave()
	if e := <-entered; e.name != "b" || !errors.Is(e.err, context.Canceled) {
		t.Errorf("%+v", e)
	}
	first()
	first() // is no second turn
	for _, want := range []string{"a", "c"} {
		e := <-entered
		if e.name != want || e.err != nil {
			t.Fatalf("%+v, want %s", e, want)
		}
		e.done()
	}
	if done, err := q.enter(t.Context(), none); err != nil {
		t.Error(err)
	} else {
		done()
	}
	if q.free != 1 || len(q.waiting) != 0 {
		t.Errorf("%d free, %d wait", q.free, len(q.waiting))
	}
}
