package agent

import (
	"log/slog"
	"sync"
	"time"

	"tapwatch/agent/inspect"
	"tapwatch/agent/path"
	"tapwatch/agent/slots"
)

// replies is what guests answer at a port that nobody listens at, while a SYN to envd
// waits: one that answers there has a route back. A question waits for its answer beside
// the looks, which take what the last one said.
type replies struct {
	mu sync.Mutex
	of map[uint64]*reply // by stay
}

type reply struct {
	asked time.Time
	open  bool
	is    path.Tristate // what came of the last question that has ended
	told  time.Time
}

const (
	// replyEvery is the time between two questions: a guest answers one a second.
	replyEvery = 2 * time.Second
	// replyWait is how long an answer is waited for.
	replyWait = 700 * time.Millisecond
	// replyOld is how old an answer may be that still counts.
	replyOld = 5 * time.Second
)

// ask returns what the guest answered lately, and asks it anew where that is due.
func (r *replies) ask(t slots.Target, log *slog.Logger) path.Tristate {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[uint64]*reply{}
	}
	one := r.of[t.Stay]
	if one == nil {
		one = &reply{}
		r.of[t.Stay] = one
	}
	if !one.open && now.Sub(one.asked) >= replyEvery {
		one.open, one.asked = true, now
		go func() {
			is, err := inspect.Replies(t.Path, t.Addrs.Guest, replyWait)
			if err != nil {
				log.Debug("ask a guest at a closed port", "err", err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			one.open, one.is, one.told = false, is, time.Now()
		}()
	}
	if now.Sub(one.told) > replyOld {
		return path.Unknown
	}
	return one.is
}

// forget forgets the sandboxes that nobody asks for any more.
func (r *replies) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for stay, one := range r.of {
		if !one.open && time.Since(one.told) > replyOld {
			delete(r.of, stay)
		}
	}
}
