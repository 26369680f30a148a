package path

import (
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
