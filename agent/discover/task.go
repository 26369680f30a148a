package discover

import "time"

// quiet is how long a burst of events is gathered before anything is read.
const quiet = 2 * time.Millisecond

// rarest is the longest that work waits which nothing asked for.
const rarest = 2 * time.Minute

// task is work that is done every so often, and soon after an event, but never
// for more than a tenth of the time.
type task struct {
	every  time.Duration
	rarely time.Duration // see Config
	at     time.Time     // when it is due; zero: at once
	ended  time.Time
	took   time.Duration
}

// soon makes the task due.
func (t *task) soon(now time.Time) {
	at := now.Add(quiet)
	if rest := t.ended.Add(10 * t.took); rest.After(at) {
		at = rest
	}
	if at.Before(t.at) {
		t.at = at
	}
}

// run does the work if it is due, and reports whether it was.
func (t *task) run(now time.Time, work func()) bool {
	if now.Before(t.at) {
		return false
	}
	regular := now.Add(t.every)
	t.at = regular
	work() // it may call soon
	t.ended = time.Now()
	t.took = t.ended.Sub(now)
	if at := now.Add(min(t.rarely*t.took, rarest)); t.at.Equal(regular) && at.After(regular) {
		t.at = at
	}
	return true
}
