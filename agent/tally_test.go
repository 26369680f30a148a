package agent

import (
	"testing"
	"time"

	"tapwatch/agent/probe"
	"tapwatch/internal/ktime"
)

// A guest that announced its address never replies to the question that the host
// had asked before: it is not asked for any more once its TCP answers.
func TestAnnouncedGuestOwesNoReply(t *testing.T) {
	for name, c := range map[string]struct {
		counters probe.Counters
		waits    ktime.Moment
	}{
		"asked":               {probe.Counters{LastARPRequest: 5}, 5},
		"replied":             {probe.Counters{LastARPRequest: 5, LastARPReply: 6}, 0},
		"took a connection":   {probe.Counters{LastARPRequest: 5, LastEnvdSYNACK: 6}, 0},
		"refused one":         {probe.Counters{LastARPRequest: 5, LastEnvdRefused: 6}, 0},
		"asked again since":   {probe.Counters{LastARPRequest: 7, LastEnvdSYNACK: 6}, 7},
		"silent ever since 5": {probe.Counters{LastARPRequest: 9, LastEnvdSYNACK: 4}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			var h tally
			if name == "silent ever since 5" {
				h.update(&probe.Counters{LastARPRequest: 5, LastEnvdSYNACK: 4}, time.Now())
			}
			h.update(&c.counters, time.Now())
			if h.arpWaiting != c.waits {
				t.Errorf("waits since %d, want %d", h.arpWaiting, c.waits)
			}
		})
	}
}

// TestPortRefusedSince: one trouble is one port, refused without a long pause.
func TestPortRefusedSince(t *testing.T) {
	second := func(n int) ktime.Moment { return ktime.Moment(time.Duration(n) * time.Second) }
	var h tally
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
		h.update(&probe.Counters{Created: 1, ReceivePackets: uint64(step.last), RefusedPort: step.port, LastPortRefused: second(step.last)}, time.Now())
		if h.portRefusedSince != second(step.want) {
			t.Errorf("%s: since %d, want %d", step.what, h.portRefusedSince/second(1), step.want)
		}
	}
}

// What was asked before both hooks stood, or were put back, may have been answered
// unseen: it is not waited for. What is asked again then is.
func TestWhatWasAskedBeforeTheHooks(t *testing.T) {
	h := tally{whole: 10}
	h.update(&probe.Counters{Created: 1, LastARPRequest: 9, LastEnvdSYN: 9}, time.Now())
	if h.arpWaiting != 0 || h.envdWaiting != 0 {
		t.Errorf("waits since %d and %d for what was asked before", h.arpWaiting, h.envdWaiting)
	}
	h.update(&probe.Counters{Created: 1, LastARPRequest: 11, LastEnvdSYN: 12}, time.Now())
	if h.arpWaiting != 11 || h.envdWaiting != 12 {
		t.Errorf("waits since %d and %d, want 11 and 12", h.arpWaiting, h.envdWaiting)
	}
	h.whole = 20 // they were taken away, and put back
	h.update(&probe.Counters{Created: 1, TransmitPackets: 1, LastARPRequest: 11, LastEnvdSYN: 12}, time.Now())
	if h.arpWaiting != 0 || h.envdWaiting != 0 {
		t.Errorf("waits since %d and %d for what was asked before they were put back", h.arpWaiting, h.envdWaiting)
	}
}

// Of two that read at a time the one that read first may be heard last.
func TestOlderReadingIsPassedOver(t *testing.T) {
	var h tally
	h.update(&probe.Counters{Created: 1, ReceivePackets: 5, LastEnvdSYNACK: 7}, time.Now())
	if h.update(&probe.Counters{Created: 1, ReceivePackets: 4, LastEnvdRefused: 6}, time.Now()) || h.counters().LastEnvdSYNACK != 7 {
		t.Errorf("an older reading was taken: %+v", h.counters())
	}
	if !h.update(&probe.Counters{Created: 2, ReceivePackets: 1}, time.Now()) {
		t.Error("counters that began anew were not taken")
	}
}

// A tap that nothing passed keeps no counters, and says the same.
func TestTallyOfAnIdleTap(t *testing.T) {
	var h tally
	if h.counters() != (probe.Counters{}) || h.traffic() != nil {
		t.Errorf("before the first reading: %+v", h.counters())
	}
	for _, c := range []probe.Counters{{Created: 5, Losses: true}, {Created: 5, Losses: true, TransmitPackets: 1}, {Created: 6}} {
		if !h.update(&c, time.Now()) || h.update(&c, time.Now()) {
			t.Errorf("%+v is news once", c)
		}
		if h.counters() != c || (h.some != nil) != (c.TransmitPackets > 0) {
			t.Errorf("%+v, kept %v, want %+v", h.counters(), h.some != nil, c)
		}
		if got := h.traffic(); got == nil || got.TransmitPackets != c.TransmitPackets || (got.Retransmits != nil) != c.Losses {
			t.Errorf("traffic %+v of %+v", got, c)
		}
	}
}
