package slots

import (
	"net/netip"
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// TakeProxy takes who listens where the proxy is expected.
func (s *Slots) TakeProxy(l path.Listener) {
	s.mu.Lock()
	l.Queue.FullSince = fullSince(l.Queue, s.proxy.Queue)
	l.Expected = l.Expected || s.proxy.Expected && l.Addr == s.proxy.Addr || l.Listening == path.Yes
	same := s.proxy.Judged() == l.Judged() && s.proxy.Expected == l.Expected
	s.proxy = l
	var all []*place
	if !same || !l.Queue.FullSince.IsZero() { // for how long it is full matters
		for p := range s.bound {
			all = append(all, p)
		}
	}
	s.mu.Unlock()
	s.each(all, s.touch)
}

// Proxy is who listens where the proxy is expected, as it was last read.
func (s *Slots) Proxy() path.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proxy
}

// RelayRead is who listens where the relay of a sandbox is expected.
type RelayRead struct {
	Netns netns.Cookie
	Path  string        // of the namespace
	At    netip.Addr    // where the relay is expected
	Is    path.Listener // as it was read last; then as it is read now

	place *place
	stay  *stay
}

// Relays returns where the relay of each sandbox is expected, in no order. A sandbox is
// left out that has none, or where that is unknown. Into is room for them.
func (s *Slots) Relays(into []RelayRead) []RelayRead {
	s.mu.Lock()
	defer s.mu.Unlock()
	into = slices.Grow(into[:0], len(s.bound))
	for p := range s.bound {
		if at := p.relayAt(); at.IsValid() {
			into = append(into, RelayRead{Netns: p.key.Netns, Path: p.space.Path, At: at, Is: p.stay.relay, place: p, stay: p.stay})
		}
	}
	return into
}

// relayAt is where the relay of a place is looked for; not valid: nowhere.
func (p *place) relayAt() netip.Addr {
	if p.key.Claim != 0 || p.space.Path == "" || !path.HasRelay(p.shapeOf()) {
		return netip.Addr{}
	}
	return p.vpeer()
}

// TakeRelays takes who listens where relays are expected.
func (s *Slots) TakeRelays(some []RelayRead) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range some {
		l, p := &some[i].Is, some[i].place
		if p.space == nil || p.stay != some[i].stay || some[i].At != p.vpeer() { // it was looked for elsewhere
			continue
		}
		l.Queue.FullSince = fullSince(l.Queue, p.stay.relay.Queue)
		same := p.stay.relay.Judged() == l.Judged()
		p.stay.relay = *l
		if l.Listening == path.Yes && l.Queue.FullSince.IsZero() {
			delete(s.unheard, p)
		} else {
			s.unheard[p] = struct{}{}
		}
		if !same || !l.Queue.FullSince.IsZero() { // for how long it is full matters
			s.touch(p)
		}
	}
}

// Listened says whether the listener of every relay is known to be there, or known at
// all where the kernel reports those that come and go. A relay that nobody knows where
// to look for is not waited for.
func (s *Slots) Listened(reported bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.unheard {
		l := &p.stay.relay
		known := l.Listening == path.Yes || reported && l.Listening == path.No
		if (!known || !l.Queue.FullSince.IsZero()) && p.relayAt().IsValid() {
			return false
		}
	}
	return true
}

// AnyQueueFull says whether the accept queue of the proxy or of a relay is full.
func (s *Slots) AnyQueueFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.unheard {
		if !p.stay.relay.Queue.FullSince.IsZero() {
			return true
		}
	}
	return !s.proxy.Queue.FullSince.IsZero()
}

// fullSince is since when a queue is full that was so before.
func fullSince(now, before path.Queue) time.Time {
	if now.FullSince.IsZero() || before.FullSince.IsZero() {
		return now.FullSince
	}
	return before.FullSince
}

// TakeTemplate takes what was read of the template of some sandboxes.
func (s *Slots) TakeTemplate(of []Target, t *path.Template) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, target := range of {
		p := s.of(target)
		if p == nil || t == nil || p.stay.TemplateDir != t.Dir {
			continue
		}
		same := sameTemplate(p.stay.template, t)
		p.stay.template = t
		if !same {
			s.touch(p)
		}
	}
}

func sameTemplate(a, b *path.Template) bool {
	if a == nil || a.Dir != b.Dir || len(a.Problems) != len(b.Problems) {
		return false
	}
	for i := range a.Problems {
		if a.Problems[i].Code != b.Problems[i].Code || a.Problems[i].Cause != b.Problems[i].Cause {
			return false
		}
	}
	return true
}
