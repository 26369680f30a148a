package slots

import (
	"net/netip"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// hooks is what is known of the hooks on a tap.
type hooks struct {
	on        bool
	attaching bool   // they have been ordered
	attempt   uint64 // of attaching; one that is given up has an older one
	fresh     bool   // their counters have been read since the sandbox came
}

// Order is hooks to be put on a tap, or to be taken off.
type Order struct {
	Device netns.Device
	Name   string // of the tap
	Path   string // of its namespace
	Off    bool   // they are to be taken off
	// Attempt tells one order to put hooks on from a later one.
	Attempt uint64
	// Last gets what the hooks had counted when they were taken off; nil: nobody wants
	// it.
	Last func(*path.Traffic)
}

// Orders returns what is to be done, in the order in which it is to be done.
func (s *Slots) Orders() []Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.orders
	s.orders = nil
	return all
}

// wantHooks has hooks put on the tap of a place where it has none.
func (s *Slots) wantHooks(p *place) {
	if !p.hooks.on {
		s.rehook(p)
	}
}

// rehook has hooks put on the tap of a place, again where it has some: what still
// stands there is left as it is.
func (s *Slots) rehook(p *place) {
	if s.cfg.NoHooks || p.ignored || p.hooks.attaching || p.key.Ifindex == 0 || p.key.Claim != 0 || p.space.Path == "" {
		return
	}
	p.hooks.attaching = true
	s.queue(Order{Device: p.key.Device, Name: p.device.Name, Path: p.space.Path, Attempt: p.hooks.attempt})
}

func (s *Slots) queue(o Order) {
	s.orders = append(s.orders, o)
	s.cfg.Ask(Hook)
}

// Rehook has hooks put on a tap again, from which they were taken away.
func (s *Slots) Rehook(d netns.Device) (there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.taps[d]
	if p == nil || !p.hooks.on {
		return false
	}
	s.rehook(p)
	return true
}

// Hooked returns the file to enter the namespace of a tap by, and whether hooks are on
// the tap.
func (s *Slots) Hooked(d netns.Device) (at string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.taps[d]
	if p == nil || !p.hooks.on {
		return "", false
	}
	return p.space.Path, true
}

// Unhooked has hooks put on the taps that have none: what stood in the way may have
// gone.
func (s *Slots) Unhooked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.taps {
		s.wantHooks(p)
	}
}

// Wanted says whether hooks that were ordered are still to be put on.
func (s *Slots) Wanted(o Order) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.taps[o.Device]
	return p != nil && p.hooks.attaching && p.hooks.attempt == o.Attempt
}

// TakeHooked takes how an attachment ended, and says whether the hooks may stay: they
// may not be wanted any more.
func (s *Slots) TakeHooked(o Order, done bool) (stay bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.taps[o.Device]
	if p == nil || !p.hooks.attaching || p.hooks.attempt != o.Attempt {
		return false
	}
	p.hooks.attaching = false
	if done {
		p.hooks.on = true
		s.touch(p)
	}
	return true
}

// unhook has the hooks taken off, and a pending attachment given up. What they
// counted to the last goes into what is kept of the tap.
func (s *Slots) unhook(p *place, g *gone) {
	p.hooks.attaching = false
	p.hooks.attempt++
	p.traffic, p.blind = nil, false
	if !p.hooks.on {
		return
	}
	p.hooks.on = false
	o := Order{Device: p.key.Device, Path: p.space.Path, Off: true}
	if g != nil {
		o.Last = func(t *path.Traffic) { s.last(g, t) }
	}
	s.queue(o)
}

// Unhook has all hooks taken off. Sandboxes lose theirs last, since the next agent
// may be about to come.
func (s *Slots) Unhook() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.taps {
		if p.stay == nil {
			s.unhook(p, nil)
		}
	}
	for _, p := range s.taps {
		s.unhook(p, nil)
	}
}

// TakeTraffic takes what the hooks on a tap have counted; it is not changed any more.
// Firsts are when the guest was first heard; blind is true where another program hides
// frames from the hooks.
func (s *Slots) TakeTraffic(d netns.Device, t *path.Traffic, first Firsts, blind bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.taps[d]
	if p == nil || !p.hooks.on {
		return
	}
	idle := p.blind == blind && p.traffic.GuestIdle(t)
	p.traffic, p.blind = t, blind
	p.hooks.fresh = true
	if idle {
		p.changed()
		return
	}
	s.touch(p)
	if p.stay == nil {
		return
	}
	if first.Guest.IsValid() && first.Guest != p.guest {
		p.guest = first.Guest
		s.cfg.Ask(Inspect, p.key)
	}
	if _, ok := s.boots[p]; ok {
		s.phase(p, path.GuestFrame, first.Frame)
		s.phase(p, path.ARPAnswered, first.ARPReply)
		s.phase(p, path.SYNACK, first.SYNACK)
	}
	if p.waits() {
		s.waiting[p] = struct{}{}
	}
}

// Firsts are when a guest was first heard; the zero time is not yet.
type Firsts struct {
	Frame, ARPReply, SYNACK time.Time
	// Guest is the guest's address by its own frames; not valid: unknown.
	Guest netip.Addr
}

// waits says whether a request waits for its answer.
func (p *place) waits() bool {
	return p.traffic != nil && (!p.traffic.ARPWaiting.IsZero() || !p.traffic.EnvdWaiting.IsZero())
}
