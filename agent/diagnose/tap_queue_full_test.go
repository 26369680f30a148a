package diagnose

import (
	"testing"
	"time"

	"tapwatch/agent/path"
)

// dropping has so many frames dropped for a reason, the last so long ago.
func dropping(reason string, count uint64, ago float64) func(*path.Facts) {
	return func(f *path.Facts) {
		t := f.Traffic
		if t.TransmitDrops == nil {
			t.TransmitDrops, t.LastDrops = map[string]uint64{}, map[string]time.Time{}
		}
		t.TransmitDrops[reason], t.LastDrops[reason] = count, secondsAgo(ago)
	}
}

func TestTapQueueFull(t *testing.T) {
	full := dropping("FULL_RING", 201, 0.4)
	attached := func(s float64) func(*path.Facts) {
		return func(f *path.Facts) { f.Device.Since = secondsAgo(s) }
	}
	tryCheck(t, tapQueueFull, []look{
		{"no drops", healthy(), "beside", nil},
		{"no hooks", changed(noHooks), "beside", nil},
		{"full", changed(full), "problem", []string{"the queue of tap0 is full", "dropped 201 frames to the guest for the reason FULL_RING, the last 400ms ago", "top -H -p 4242"}},
		{"full a while ago", changed(dropping("FULL_RING", 201, 10.1)), "beside", nil},
		{"full before the agent came: nobody knows when", changed(full, func(f *path.Facts) { f.Traffic.LastDrops = map[string]time.Time{} }), "beside", nil},
		{"full with the guest before", changed(full, attached(0.2)), "beside", nil},
		{"full while the VMM attached", changed(full, attached(1.5)), "beside", nil},
		{"other drops", changed(dropping("TC_EGRESS", 3, 1)), "beside", nil},
		{"behind a VMM that is stopped", changed(full, stopped), "suppressed", []string{"vmm-stopped"}},
		{"behind a VMM that is paused", changed(full, apiSaid(path.VMMPaused, eth0)), "suppressed", []string{"vmm-paused"}},
		{"behind a guest that hangs", changed(hung, full), "suppressed", []string{"guest-hung"}},
		{"behind a guest that panicked", changed(full, hung, onConsole("guest-panic", "Kernel panic")), "suppressed", []string{"guest-panic"}},
		{"behind a guest without driver", changed(guestMute, full), "suppressed", []string{"guest-silent"}},
		{"behind a dead VMM", changed(full, vmmDead), "suppressed", []string{"vmm-exited"}},
	})
	for name, tt := range map[string]struct {
		facts path.Facts
		want  string
	}{
		"requests get through": {changed(full), "ok: ok ok ok ok ok [tap-queue-full]"},
		"they do not":          {changed(full, synDropped), "broken: ok ok ok ok broken [envd-no-answer tap-queue-full]"},
		"one cause":            {changed(full, stopped), "broken: ok ok ok broken unknown [vmm-stopped]"},
		"booting":              {changed(full, booting), "ok: ok ok ok ok ok []"},
	} {
		d := Run(tt.facts)
		if got := summary(d); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
		if warned := len(d.Findings) > 0 && d.Findings[len(d.Findings)-1].Code == "tap-queue-full"; Passing(d) != warned {
			t.Errorf("%s: time may end a warning: %v", name, Passing(d))
		}
	}
}
