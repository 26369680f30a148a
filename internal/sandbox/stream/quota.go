package stream

import (
	"sync"
	"sync/atomic"
	"time"
)

// Quota bounds the connections to one or several targets, a sandbox's say, so that a
// flood to it takes no files of the others. Its methods may be called concurrently.
type Quota struct {
	most int64
	rate float64 // new connections a second; 0: any
	open atomic.Int64

	mu     sync.Mutex
	tokens float64
	filled time.Time

	refused atomic.Int64
}

// NewQuota lets most connections be open at once, and so many come a second once most
// have come in a moment; 0 does not bound.
func NewQuota(most int, perSecond float64) *Quota {
	return &Quota{most: int64(most), rate: perSecond, tokens: float64(max(most, int(perSecond))), filled: time.Now()}
}

// Refused is how many connections were refused.
func (q *Quota) Refused() int64 { return q.refused.Load() }

// Admit says whether one more connection may come. A nil quota admits all.
func (q *Quota) Admit() bool {
	if q == nil || (q.most == 0 || q.open.Load() < q.most) && q.take(time.Now()) {
		return true
	}
	q.refused.Add(1)
	return false
}

func (q *Quota) take(now time.Time) bool {
	if q.rate == 0 {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	full := max(float64(q.most), q.rate)
	q.tokens = min(full, q.tokens+q.rate*now.Sub(q.filled).Seconds())
	q.filled = now
	if q.tokens < 1 {
		return false
	}
	q.tokens--
	return true
}

func (q *Quota) count(n int64) {
	if q != nil {
		q.open.Add(n)
	}
}
