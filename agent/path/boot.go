package path

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Phase is one step of a sandbox's boot.
type Phase string

// The phases of a boot, each named for what it ends with.
const (
	SlotReady   Phase = "slot_ready"   // the tap is there
	VMMStarted  Phase = "vmm_started"  // the process, to 10 ms
	TapAttached Phase = "tap_attached" // somebody holds the tap
	CarrierSeen Phase = "carrier"      // IFLA_CARRIER is 1
	GuestFrame  Phase = "guest_frame"  // the guest's first frame, of whatever kind
	ARPAnswered Phase = "arp_answered" // the guest's kernel has its address
	SYNACK      Phase = "syn_ack"      // something listens on envd's port
	EnvdHealthy Phase = "envd_healthy" // envd answered /health
)

// Phases is every phase in the order of a boot.
var Phases = []Phase{SlotReady, VMMStarted, TapAttached, CarrierSeen, GuestFrame, ARPAnswered, SYNACK, EnvdHealthy}

// PhaseCount is how many there are.
const PhaseCount = 8

// Boot says when each phase of a sandbox's boot ended. One that is published is
// never changed.
type Boot struct {
	Begin time.Time // when the sandbox was made; the phases count from it
	// Watched is whether the agent saw all of it: a boot before the agent's start
	// tells when, but not how long.
	Watched bool
	at      [PhaseCount]time.Time
}

// At returns when a phase ended; the zero time: not yet, or not seen.
func (b *Boot) At(p Phase) time.Time { return b.at[slices.Index(Phases, p)] }

// With returns a boot that knows of one more phase; the first time holds. What
// was there before the sandbox took no time of its boot.
func (b *Boot) With(p Phase, at time.Time) *Boot {
	i := slices.Index(Phases, p)
	if at.IsZero() || !b.at[i].IsZero() {
		return b
	}
	if at.Before(b.Begin) {
		at = b.Begin
	}
	c := *b
	c.at[i] = at
	return &c
}

// Complete is whether every phase is known.
func (b *Boot) Complete() bool {
	return !slices.ContainsFunc(b.at[:], time.Time.IsZero)
}

// Step is a known phase of a boot, and how long it took since the one before that
// is known. A phase that was learned late takes nothing from the next.
type Step struct {
	Phase Phase
	At    time.Time
	Since time.Duration // of the boot's begin
	Took  time.Duration
}

// Steps returns the known phases in order.
func (b *Boot) Steps() []Step {
	var steps []Step
	last := b.Begin
	for i, p := range Phases {
		at := b.at[i]
		if at.IsZero() {
			continue
		}
		steps = append(steps, Step{Phase: p, At: at, Since: at.Sub(b.Begin), Took: max(0, at.Sub(last))})
		if at.After(last) {
			last = at
		}
	}
	return steps
}

// bootJSON is a Boot on the wire; seconds are since the phase before.
type bootJSON struct {
	Begin   time.Time   `json:"begin"`
	Watched bool        `json:"watched"`
	Phases  []phaseJSON `json:"phases"`
}

type phaseJSON struct {
	Phase   Phase     `json:"phase"`
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
}

// MarshalJSON gives {"begin", "watched", "phases": [{"phase", "at", "seconds"}]}
// with the known phases only.
func (b *Boot) MarshalJSON() ([]byte, error) {
	out := bootJSON{Begin: b.Begin, Watched: b.Watched, Phases: []phaseJSON{}}
	for _, s := range b.Steps() {
		out.Phases = append(out.Phases, phaseJSON{s.Phase, s.At, s.Took.Seconds()})
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (b *Boot) UnmarshalJSON(data []byte) error {
	var in bootJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("read a boot: %w", err)
	}
	*b = Boot{Begin: in.Begin, Watched: in.Watched}
	for _, p := range in.Phases {
		if i := slices.Index(Phases, p.Phase); i >= 0 {
			b.at[i] = p.At
		}
	}
	return nil
}
