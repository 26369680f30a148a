package stream

import (
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	var none *Quota
	if !none.Admit() {
		t.Error("no quota refuses")
	}
	q := NewQuota(2, 0)
	for _, c := range []struct {
		open int64
		want bool
	}{{0, true}, {1, true}, {1, false}, {-1, true}} {
		q.count(c.open)
		if got := q.Admit(); got != c.want {
			t.Errorf("with %d open: %v", q.open.Load(), got)
		}
	}
	if q.Refused() != 1 {
		t.Errorf("%d refused", q.Refused())
	}
}

// So many come at once as may be open, and then as many as the rate gives.
func TestQuotaOfNewConnections(t *testing.T) {
	q := NewQuota(20, 10)
	at := q.filled
	taken := func(at time.Time) (n int) {
		for q.take(at) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 20}, {0, 0}, {time.Second, 10}, {1500 * time.Millisecond, 5}, {time.Hour, 20}} {
		if got := taken(at.Add(c.after)); got != c.want {
			t.Errorf("after %v: %d, want %d", c.after, got, c.want)
		}
	}
}
