package path

import (
	"maps"
	"testing"
	"time"
)

func TestGuestIdle(t *testing.T) {
	var retransmits, more uint64 = 1, 2
	was := Traffic{TransmitPackets: 1, TransmitBytes: 90, LastReceive: time.Unix(1, 0), Retransmits: &retransmits, TransmitDrops: map[string]uint64{"A": 1}}
	for name, c := range map[string]struct {
		change func(*Traffic)
		want   bool
	}{
		"nothing":            {func(*Traffic) {}, true},
		"frames to it":       {func(t *Traffic) { t.TransmitPackets, t.TransmitBytes = 2, 180 }, true},
		"a frame of it":      {func(t *Traffic) { t.ReceivePackets, t.LastReceive = 1, time.Unix(2, 0) }, false},
		"it is asked by ARP": {func(t *Traffic) { t.TransmitPackets, t.ARPWaiting = 2, time.Unix(2, 0) }, false},
		"a retransmission":   {func(t *Traffic) { t.Retransmits = &more }, false},
		"a drop":             {func(t *Traffic) { t.TransmitDrops = map[string]uint64{"A": 2} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			now := was
			c.change(&now)
			if got := was.GuestIdle(&now); got != c.want {
				t.Error(got)
			}
		})
	}
	if (*Traffic)(nil).GuestIdle(&was) || !(*Traffic)(nil).GuestIdle(nil) {
		t.Error("of a tap without hooks")
	}
}

func TestTotalsOf(t *testing.T) {
	counts := func(of Totals) *[len(Outcomes)]uint64 {
		var c [len(Outcomes)]uint64
		for i, o := range Outcomes {
			c[i] = of[o]
		}
		return &c
	}
	for name, c := range map[string]struct{ relay, guest, want Totals }{
		"none":                         {nil, nil, Totals{}},
		"no relay":                     {nil, Totals{Answered: 3, Refused: 1}, Totals{Answered: 3, Refused: 1}},
		"a relay":                      {Totals{Answered: 3, Closed: 2}, Totals{Answered: 3, Refused: 2}, Totals{Answered: 3, Closed: 2}},
		"errors of the guest":          {Totals{Answered: 3}, Totals{Answered: 1, ServerError: 2}, Totals{Answered: 1, ServerError: 2}},
		"errors that nobody passed on": {Totals{Answered: 1, GaveUp: 2}, Totals{ServerError: 3}, Totals{ServerError: 1, GaveUp: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := TotalsOf(counts(c.relay), counts(c.guest)); !maps.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
