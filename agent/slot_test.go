package agent

import (
	"testing"
	"time"

	"tapwatch/agent/discover"
	"tapwatch/agent/path"
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

// A foreign VMM that is seen to be gone is no problem before the kernel may be
// expected to have told how it ended.
func TestForeignEndIsAwaited(t *testing.T) {
	gone := time.Unix(1000, 0)
	told := func(wanted bool) *path.VMMExit { return &path.VMMExit{Time: gone, Wanted: wanted} }
	for name, c := range map[string]struct {
		source discover.Source
		told   bool // that the kernel does tell
		exit   *path.VMMExit
		after  time.Duration
		ending bool
	}{
		"not told yet":              {discover.Firecracker, true, nil, 0, true},
		"not told in time":          {discover.Firecracker, true, nil, exitAwaited, false},
		"never told":                {discover.Firecracker, false, nil, 0, false},
		"told that it was wanted":   {discover.Firecracker, true, told(true), 0, true},
		"told that nobody wanted":   {discover.Firecracker, true, told(false), 0, false},
		"a launcher's that records": {discover.Tapwatch, true, nil, 0, false},
	} {
		s := slot{entry: &discover.Entry{Binding: &discover.Binding{Source: c.source}}, vmmExit: c.exit, vmmExitTold: c.told}
		if c.exit == nil && s.endingAt(gone) {
			t.Errorf("%s: ending before it has gone", name)
		}
		s.noteVMMGone(gone)
		s.noteVMMGone(gone.Add(time.Hour)) // the first time counts
		if got := s.endingAt(gone.Add(c.after)); got != c.ending {
			t.Errorf("%s: ending %t, want %t", name, got, c.ending)
		}
	}
}
