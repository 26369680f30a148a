package probe

import (
	"fmt"

	"tapwatch/bpf"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
)

// activityShift and the places are those of bpf/tapwatch.h.
const (
	activityShift  = 29
	activityPlaces = len(bpf.TapActivity{}.At)
)

// Activity tells which devices may have counted something new.
type Activity struct {
	now    uint16
	window uint16 // how far back
	at     [activityPlaces]uint16
}

// ReadActivity takes note of what has counted since a Moment, in one system call
// however many devices there are. What was counted in the half second of that
// Moment is told again.
func (p *Probe) ReadActivity(a *Activity, since ktime.Moment) error {
	now := ktime.Now()
	a.now = uint16(now >> activityShift)
	a.window = uint16(min(now>>activityShift-since>>activityShift, 1<<16-1))
	if err := p.tap.Maps[bpf.TapMapActive].Lookup(uint32(0), &a.at); err != nil {
		return fmt.Errorf("read what taps are active: %w", err)
	}
	return nil
}

// Of says whether the device may have counted anything new. It is never wrong
// when it says no, within nine hours.
func (a *Activity) Of(d netns.Device) bool {
	place := (uint32(d.Netns)*5 + uint32(d.Ifindex)) % uint32(activityPlaces)
	// A frame that was counted while this was read may be later than now.
	age := a.now - a.at[place]
	return age <= a.window || age == 1<<16-1
}
