package path

import (
	"fmt"
	"sync"
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
	Problem     EventKind = "problem" // a finding appeared
	Cleared     EventKind = "cleared" // it went
)

// Events hands each event to every subscriber and keeps the last ones. A
// subscriber that does not keep up loses events, and is told how many.
type Events struct {
	mu     sync.Mutex
	recent []Event // ring, oldest first once full
	next   int
	lost   uint64
	subs   map[*Subscription]struct{}
}

// recentEvents bounds the memory of the ring: about 200 bytes an event.
const recentEvents = 1024

// subscriptionEvents is how far a subscriber may be behind: a thousand taps that
// lose their carrier at once make two events each.
const subscriptionEvents = 2048

// Subscription is one reader of events. C is closed by Close.
type Subscription struct {
	C      chan Event
	events *Events
	lost   uint64
}

// Publish tells all subscribers; it never waits for one.
func (e *Events) Publish(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.recent) < recentEvents {
		e.recent = append(e.recent, ev)
	} else {
		e.recent[e.next] = ev
		e.next = (e.next + 1) % recentEvents
	}
	for s := range e.subs {
		select {
		case s.C <- ev:
		default:
			s.lost++
			e.lost++
		}
	}
}

// Recent returns the kept events, oldest first.
func (e *Events) Recent() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.kept()
}

func (e *Events) kept() []Event {
	return append(append([]Event(nil), e.recent[e.next:]...), e.recent[:e.next]...)
}

// Lost returns how many events slow subscribers have missed altogether.
func (e *Events) Lost() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lost
}

// Subscribe returns a reader of all events from now on.
func (e *Events) Subscribe() *Subscription {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.subscribe()
}

// Follow returns the kept events, oldest first, and a reader of all that come
// after them: no event is in both, and none in neither.
func (e *Events) Follow() ([]Event, *Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.kept(), e.subscribe()
}

func (e *Events) subscribe() *Subscription {
	s := &Subscription{C: make(chan Event, subscriptionEvents), events: e}
	if e.subs == nil {
		e.subs = map[*Subscription]struct{}{}
	}
	e.subs[s] = struct{}{}
	return s
}

// Lost returns how many events this reader has missed by being slow.
func (s *Subscription) Lost() uint64 {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	return s.lost
}

// Close ends the subscription; it may be called twice.
func (s *Subscription) Close() {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if _, ok := s.events.subs[s]; ok {
		delete(s.events.subs, s)
		close(s.C)
	}
}
