package agent

import (
	"testing"
	"time"
)

// Ticks of all parts fall together, wherever a part begins.
func TestTicksFallTogether(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{time.Millisecond, 250 * time.Millisecond, 2 * time.Second} {
		for range 3 {
			before := time.Since(epoch)
			next := untilTick(every)
			after := time.Since(epoch)
			if tick := (after + next) / every * every; next <= 0 || next > every || tick < before+next {
				t.Errorf("between %s and %s the next tick of those every %s comes in %s", before, after, every, next)
			}
			time.Sleep(300 * time.Microsecond)
		}
	}
	tick := newTicks(time.Millisecond)
	defer tick.Stop()
	for range 3 {
		<-tick.C
		tick.again()
	}
}
