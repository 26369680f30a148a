package agent

import (
	"testing"
	"time"

	"tapwatch/agent/probe"
	"tapwatch/internal/ktime"
)

// TestPortRefusedSince: one trouble is one port, refused without a long pause.
func TestPortRefusedSince(t *testing.T) {
	second := func(n int) ktime.Moment { return ktime.Moment(time.Duration(n) * time.Second) }
	var h hooked
	for _, step := range []struct {
		what string
		port uint16
		last int // second of the last refusal
		want int // second since when
	}{
		{"the first", 3000, 100, 100},
		{"again", 3000, 104, 100},
		{"nothing new", 3000, 104, 100},
		{"after all of the pause", 3000, 114, 100},
		{"after more than that", 3000, 125, 125},
		{"another port", 8080, 126, 126},
		{"the first port again", 3000, 127, 127},
	} {
		h.update(probe.Counters{Created: 1, ReceivePackets: uint64(step.last), RefusedPort: step.port, LastPortRefused: second(step.last)}, time.Now())
		if h.portRefusedSince != second(step.want) {
			t.Errorf("%s: since %d, want %d", step.what, h.portRefusedSince/second(1), step.want)
		}
	}
}
