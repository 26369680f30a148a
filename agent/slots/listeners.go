package slots

import (
	"net/netip"
	"slices"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// TakeProxy takes who listens where the proxy is expected.
func (s *Slots) TakeProxy(l path.Listener) {
	s.mu.Lock()
	l.Expected = l.Expected || s.proxy.Expected && l.Addr == s.proxy.Addr || l.Listening == path.Yes
	var all []*place
	if replace(&s.proxy, l) {
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
		p := some[i].place
		if p.space == nil || p.stay != some[i].stay || some[i].At != p.vpeer() { // it was looked for elsewhere
			continue
		}
		news := replace(&p.stay.relay, some[i].Is)
		if l := &p.stay.relay; l.Listening == path.Yes && l.Queue.FullSince.IsZero() {
			delete(s.unheard, p)
		} else {
			s.unheard[p] = struct{}{}
		}
		if news {
			s.touch(p)
		}
	}
}

// Listened says whether every relay is known to listen, with room in its accept queue.
// Where the kernel reports who begins or ceases to listen (reported), a relay that is
// known not to listen needs no new reading either. A relay without a known address is
// left out.
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

// replace puts a new reading of a listener in the place of the last one, and reports
// whether the checks are to see it: it differs, or its queue is full, since how long
// that lasts matters. A queue that was full before keeps the time.
func replace(l *path.Listener, now path.Listener) (news bool) {
	if !now.Queue.FullSince.IsZero() && !l.Queue.FullSince.IsZero() {
		now.Queue.FullSince = l.Queue.FullSince
	}
	news = l.Judged() != now.Judged() || !now.Queue.FullSince.IsZero()
	*l = now
	return news
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
