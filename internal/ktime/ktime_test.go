package ktime

import (
	"testing"
	"time"
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

func TestBootIsOneTime(t *testing.T) {
	if b := Boot(); !b.Equal(Boot()) || b.After(time.Now()) || b.After(time.Unix(0, Zero()).Add(within)) {
		t.Errorf("booted %v, CLOCK_MONOTONIC began %v", b, time.Unix(0, Zero()))
	}
}
