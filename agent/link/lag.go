package link

import (
	"slices"
	"time"
)

// LagBounds are the upper bounds of the buckets of Stats.OperstateLag.
var LagBounds = []time.Duration{
	time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// Lag is a histogram of how long operstates contradicted their carriers, until
// they followed.
type Lag struct {
	Counts []uint64 // one more than LagBounds, not cumulated
	Sum    time.Duration
}

// contradicts says whether the operstate says otherwise than the carrier. An
// interface that is administratively down is down whatever its carrier.
func (l *Link) contradicts() bool {
	const down, up = 2, 6 // IF_OPER_DOWN, IF_OPER_UP
	return l.AdminUp && (l.Carrier == Down && l.Operstate == up || l.Carrier == Up && l.Operstate == down)
}

// follow notes since when the operstate of an interface contradicts its carrier.
// A lag that was there before us is not measured, nor one that ended because the
// carrier turned back, or a hand the interface off: no operstate followed.
func (g *Lag) follow(old, l *Link, now time.Time) {
	if old == nil {
		return
	}
	if l.contradicts() {
		switch {
		case !old.contradicts() || l.Carrier != old.Carrier:
			l.StaleSince = now
		default:
			l.StaleSince = old.StaleSince
		}
		return
	}
	if !old.StaleSince.IsZero() && l.Carrier == old.Carrier && l.AdminUp {
		g.add(now.Sub(old.StaleSince))
	}
}

func newLag() Lag { return Lag{Counts: make([]uint64, len(LagBounds)+1)} }

func (g *Lag) add(d time.Duration) {
	bucket, _ := slices.BinarySearch(LagBounds, d)
	g.Counts[bucket]++
	g.Sum += d
}

// operstateLag returns a copy of what was measured.
func (t *table) operstateLag() Lag {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Lag{Counts: slices.Clone(t.lag.Counts), Sum: t.lag.Sum}
}
