package path

import (
	"fmt"
	"time"
)

// Event is something that happened to a slot, told once.
type Event struct {
	Time      time.Time `json:"time"` // when the agent learned it
	Kind      EventKind `json:"kind"`
	Netns     string    `json:"netns"`
	Device    string    `json:"device,omitempty"`
	SandboxID string    `json:"sandbox_id,omitempty"`
	Name      string    `json:"name,omitempty"` // of the sandbox
	Text      string    `json:"text"`
	// HeldTap says of a VMM's end whether it had a tap open to it.
	HeldTap Tristate `json:"held_tap,omitempty"`
}

// String is the event as a line for people.
func (e Event) String() string {
	who := e.Netns
	if e.Name != "" {
		who += " " + e.Name
	}
	if e.SandboxID != "" {
		who += " (" + e.SandboxID + ")"
	}
	return fmt.Sprintf("%s  %-12s %s: %s", e.Time.Format("15:04:05.000"), e.Kind, who, e.Text)
}

// EventKind is what happened.
type EventKind string

// The kinds of events.
const (
	CarrierUp   EventKind = "carrier-up"
	CarrierLost EventKind = "carrier-lost"
	TapGone     EventKind = "tap-gone" // it had no carrier to lose
	SlotAdded   EventKind = "slot-added"
	SlotRemoved EventKind = "slot-removed"
	Bound       EventKind = "bound"   // a sandbox came to the slot
	Unbound     EventKind = "unbound" // it went
	VMMFound    EventKind = "vmm-started"
	VMMExited   EventKind = "vmm-exited"
	VMPaused    EventKind = "vm-paused"
	VMResumed   EventKind = "vm-resumed"
	Problem     EventKind = "problem" // a finding appeared
	Cleared     EventKind = "cleared" // it went
)

// EventKinds are all kinds of events.
var EventKinds = []EventKind{CarrierUp, CarrierLost, TapGone, SlotAdded, SlotRemoved, Bound, Unbound, VMMFound, VMMExited, VMPaused, VMResumed, Problem, Cleared}
