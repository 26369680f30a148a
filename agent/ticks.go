package agent

import "time"

// epoch is what the ticks of all parts are counted from.
var epoch = time.Now()

// ticks is a ticker whose ticks fall together with those of all other parts: each time
// that an idle process wakes costs it more than what most parts then do. Again must be
// called after each tick.
type ticks struct {
	*time.Timer
	every time.Duration
}

func newTicks(every time.Duration) ticks { return ticks{time.NewTimer(untilTick(every)), every} }

func (t ticks) again() { t.Reset(untilTick(t.every)) }

// untilTick is the time until the next tick of those that come so often.
func untilTick(every time.Duration) time.Duration { return every - time.Since(epoch)%every }
