package ktime

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// within is more than any reading takes, and less than any mistake in the sums.
const within = time.Minute

func TestMomentsAreTimesOfTheCalendar(t *testing.T) {
	if got := (Moment(0)).Time(); !got.IsZero() {
		t.Errorf("never is %v", got)
	}
	now := Now()
	if d := time.Since(now.Time()); d.Abs() > within {
		t.Errorf("now is %v ago", d)
	}
	if d := time.Since((now - Moment(time.Hour/4)).Time()) - time.Hour/4; now > Moment(time.Hour) && d.Abs() > within {
		t.Errorf("a quarter of an hour ago is off by %v", d)
	}
	if d := time.Since(time.Unix(0, Zero()+int64(now))); d.Abs() > within {
		t.Errorf("Zero and Now are off by %v", d)
	}
}

// One of the readings that is not interrupted decides.
func TestZeroOfABusyMachine(t *testing.T) {
	const began, step, lost = 1_700_000_000_000_000_000, 40, 3_000_000
	for quick := range readings {
		now, n := int64(1000), 0
		zero := zeroOf(func(clock int32) int64 {
			now += step
			if n++; (n-1)/3 != quick {
				now += lost // another ran
			}
			if clock == unix.CLOCK_REALTIME {
				return began + now
			}
			return now
		})
		if zero != began {
			t.Errorf("reading %d is quick: %d ns off", quick, zero-began)
		}
	}
}

func TestBootIsOneTime(t *testing.T) {
	if b := Boot(); !b.Equal(Boot()) || b.After(time.Now()) || b.After(time.Unix(0, Zero()).Add(within)) {
		t.Errorf("booted %v, CLOCK_MONOTONIC began %v", b, time.Unix(0, Zero()))
	}
}
