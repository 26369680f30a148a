package agent

import (
	"testing"
	"time"

	"tapwatch/agent/probe"
)

// A guest that announced its address never replies to the question that the host
// had asked before: it is not asked for any more once its TCP answers.
func TestAnnouncedGuestOwesNoReply(t *testing.T) {
	for name, c := range map[string]struct {
		counters probe.Counters
		waits    probe.Moment
	}{
		"asked":               {probe.Counters{LastARPRequest: 5}, 5},
		"replied":             {probe.Counters{LastARPRequest: 5, LastARPReply: 6}, 0},
		"took a connection":   {probe.Counters{LastARPRequest: 5, LastEnvdSYNACK: 6}, 0},
		"refused one":         {probe.Counters{LastARPRequest: 5, LastEnvdRefused: 6}, 0},
		"asked again since":   {probe.Counters{LastARPRequest: 7, LastEnvdSYNACK: 6}, 7},
		"silent ever since 5": {probe.Counters{LastARPRequest: 9, LastEnvdSYNACK: 4}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			var h hooked
			if name == "silent ever since 5" {
				h.update(probe.Counters{LastARPRequest: 5, LastEnvdSYNACK: 4}, time.Now())
			}
			h.update(c.counters, time.Now())
			if h.arpWaiting != c.waits {
				t.Errorf("waits since %d, want %d", h.arpWaiting, c.waits)
			}
		})
	}
}
