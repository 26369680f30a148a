package discover

import (
	"testing"
	"time"
)

func TestTask(t *testing.T) {
	start := time.Now()
	task := task{every: time.Hour}
	if !task.run(start, func() {}) {
		t.Fatal("not done at once")
	}
	if task.run(start.Add(time.Minute), func() {}) {
		t.Error("done again without need")
	}
	task.ended, task.took = start, 0
	task.soon(start)
	if !task.at.Equal(start.Add(quiet)) {
		t.Errorf("due after %s", task.at.Sub(start))
	}
	task.soon(start.Add(quiet)) // later events do not put it off
	if !task.at.Equal(start.Add(quiet)) {
		t.Errorf("put off to %s", task.at.Sub(start))
	}
	task.at, task.took = start.Add(time.Hour), time.Second
	task.soon(start)
	if !task.at.Equal(start.Add(10 * time.Second)) {
		t.Errorf("work of a second is due again after %s", task.at.Sub(start))
	}
}

func TestRetriesGetRarerAndEnd(t *testing.T) {
	now := time.Now()
	after := func(age time.Duration) time.Duration {
		n := names{unready: map[string]time.Time{"x": now.Add(-age)}}
		at := n.retryAt(now)
		if at.IsZero() {
			return -1
		}
		return at.Sub(now)
	}
	for age, want := range map[time.Duration]time.Duration{
		0:                      time.Millisecond,
		20 * time.Millisecond:  10 * time.Millisecond,
		2 * time.Second:        250 * time.Millisecond,
		retryFor + time.Second: -1,
	} {
		if got := after(age); got != want {
			t.Errorf("after %s: %s, want %s", age, got, want)
		}
	}
}
