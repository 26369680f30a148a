// Package events hands what happens to slots to whoever follows it.
package events

import (
	"sync"

	"tapwatch/agent/path"
)

// Hub hands each event to every subscriber and keeps the last ones. A
// subscriber that does not keep up loses events, and is told how many.
type Hub struct {
	mu     sync.Mutex
	recent []path.Event // ring, oldest first once full
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
	C    chan path.Event
	hub  *Hub
	lost uint64
}

// Publish tells all subscribers; it never waits for one.
func (h *Hub) Publish(ev path.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.recent) < recentEvents {
		h.recent = append(h.recent, ev)
	} else {
		h.recent[h.next] = ev
		h.next = (h.next + 1) % recentEvents
	}
	for s := range h.subs {
		select {
		case s.C <- ev:
		default:
			s.lost++
			h.lost++
		}
	}
}

// Recent returns the kept events, oldest first.
func (h *Hub) Recent() []path.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept()
}

func (h *Hub) kept() []path.Event {
	return append(append([]path.Event(nil), h.recent[h.next:]...), h.recent[:h.next]...)
}

// Lost returns how many events slow subscribers have missed altogether.
func (h *Hub) Lost() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

// Subscribe returns a reader of all events from now on.
func (h *Hub) Subscribe() *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.subscribe()
}

// Follow returns the kept events, oldest first, and a reader of all that come
// after them: no event is in both, and none in neither.
func (h *Hub) Follow() ([]path.Event, *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept(), h.subscribe()
}

func (h *Hub) subscribe() *Subscription {
	s := &Subscription{C: make(chan path.Event, subscriptionEvents), hub: h}
	if h.subs == nil {
		h.subs = map[*Subscription]struct{}{}
	}
	h.subs[s] = struct{}{}
	return s
}

// Lost returns how many events this reader has missed by being slow.
func (s *Subscription) Lost() uint64 {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.lost
}

// Close ends the subscription; it may be called twice.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if _, ok := s.hub.subs[s]; ok {
		delete(s.hub.subs, s)
		close(s.C)
	}
}
