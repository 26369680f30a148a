package slots

import (
	"time"

	"tapwatch/agent/path"
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
	Target Target
	Is     path.Listener
}

// TakeRelays takes who listens where relays are expected.
func (s *Slots) TakeRelays(some []RelayRead) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range some {
		l := &some[i].Is
		p := s.of(some[i].Target)
		if p == nil || some[i].Target.Addrs.Vpeer != p.addrs().Vpeer { // it was looked for elsewhere
			continue
		}
		l.Queue.FullSince = fullSince(l.Queue, p.stay.relay.Queue)
		same := p.stay.relay.Judged() == l.Judged()
		p.stay.relay = *l
		if !same || !l.Queue.FullSince.IsZero() { // for how long it is full matters
			s.touch(p)
		}
	}
}

// Listened says whether the listener of every relay is known to be there, or known at
// all where the kernel reports those that come and go.
func (s *Slots) Listened(reported bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.bound {
		l := &p.stay.relay
		known := l.Listening == path.Yes || reported && l.Listening == path.No
		if (!known || !l.Queue.FullSince.IsZero()) && path.HasRelay(p.shapeOf()) {
			return false
		}
	}
	return true
}

// AnyQueueFull says whether the accept queue of the proxy or of a relay is full.
func (s *Slots) AnyQueueFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.bound {
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
