package path

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLastLoss(t *testing.T) {
	at := func(kind EventKind, ms int64) Event { return Event{Kind: kind, Time: time.UnixMilli(ms)} }
	ended := func(ms int64, held Tristate) Event {
		return Event{Kind: VMMExited, Time: time.UnixMilli(ms), HeldTap: held}
	}
	for _, c := range []struct {
		name   string
		events []Event
		want   string
	}{
		{"no loss", []Event{at(CarrierUp, 1)}, ""},
		{"it died", []Event{at(CarrierUp, 1), ended(100, Yes), at(CarrierLost, 101)}, "the VMM ended first, 1ms before the agent saw the carrier go"},
		{"its slot was removed after", []Event{ended(100, Yes), at(CarrierLost, 101), at(TapGone, 900)}, "the VMM ended first, 1ms before the agent saw the carrier go"},
		// The agent hears of the carrier later than of the end, yet it went before.
		{"it let go, and died at once", []Event{ended(100, No), at(CarrierLost, 101)}, "the carrier went first: the VMM had let go of its tap when it ended"},
		{"nobody could tell", []Event{ended(100, Unknown), at(CarrierLost, 101)}, "which went first is not known: the agent saw the carrier go 1ms after the VMM's end"},
		{"the tap was set down before", []Event{at(CarrierLost, 100), ended(300, Yes)}, "the carrier went first, 200ms before the VMM ended"},
		{"it let go, then died", []Event{at(CarrierLost, 100), at(VMMExited, 300)}, "the carrier went first, 200ms before the VMM ended"},
		{"it lives", []Event{at(CarrierLost, 100)}, "the carrier went while the VMM ran"},
		{"it died long after", []Event{at(CarrierLost, 100), at(VMMExited, 60100)}, "the carrier went while the VMM ran"},
		{"the last counts", []Event{at(VMMExited, 1), at(CarrierLost, 1), at(CarrierUp, 50000), at(CarrierLost, 60000)}, "the carrier went while the VMM ran"},
	} {
		if got := (History{Events: c.events}).LastLoss(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestDrawHistory(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(us int) time.Time { return begin.Add(time.Duration(us) * time.Microsecond) }
	boot := &Boot{Begin: begin, Watched: true}
	for i, us := range []int{2_500, 30_000, 140_000, 140_000, 1_100_000, 1_200_000, 2_000_000} {
		boot = boot.With(Phases[i], at(us))
	}
	events := []Event{
		{Time: at(2_000), Kind: Bound, Text: "sandbox bound to the slot"},
		{Time: at(140_000), Kind: CarrierUp, Text: "carrier on tap0"},
		{Time: at(9_000_000), Kind: VMMExited, HeldTap: Yes, Text: "qemu-system-x86 (pid 42) was killed by SIGKILL"},
		{Time: at(9_000_412), Kind: CarrierLost, Text: "NO-CARRIER on tap0"},
	}
	for name, h := range map[string]History{
		"lived":      {Lived: Lived{SandboxID: "i1", Name: "healthy", Netns: "ns-7", Gone: at(60_000_000)}, Boot: boot, Events: events},
		"unseen":     {Lived: Lived{SandboxID: "i2", Netns: "ns-8"}, Boot: &Boot{Begin: begin}, Events: events[:1], Dropped: 3},
		"unfinished": {Lived: Lived{SandboxID: "i4", Netns: "ns-9"}, Boot: (&Boot{Begin: begin, Watched: true}).With(VMMStarted, at(30_000))},
		"no-boot":    {Lived: Lived{SandboxID: "i3", Netns: "ns-9"}},
	} {
		want, err := os.ReadFile(filepath.Join("testdata", "history-"+name+".txt"))
		if err != nil {
			t.Error(err)
		}
		var got strings.Builder
		DrawHistory(&got, h, Screen{})
		if got.String() != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got.String(), want)
		}
	}
}
