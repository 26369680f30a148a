package slots

import (
	"cmp"
	"net/netip"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/clean"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// place is a tap and what leads to it, whichever sandbox is at it.
type place struct {
	key    Key
	space  *space      // nil: the place has gone
	device path.Device // as the kernel reports it, with its holders
	seen   time.Time   // when the tap was first seen; zero: never
	veth   path.Veth
	kernel Addrs          // the addresses that the kernel has
	shape  registry.Shape // of the path, by the kernel's rules; empty: unknown
	guest  netip.Addr     // by the guest's own frames; not valid: unknown
	stray  *path.Stray    // as path.Facts has it

	hooks   hooks
	traffic *path.Traffic // nil: unknown
	blind   bool          // another program hides frames from the hooks

	stay     *stay    // nil: no sandbox is at it
	holders  []Holder // of the tap, the eldest first; nil: unknown
	claimant *VMM     // that wants the tap and holds none; nil: nobody
	stranger *Holder  // who holds the tap where no rule knows the sandbox; nil: nobody

	ignored   bool // nobody wants to hear of it
	awaited   bool // who holds the tap is being read: until then nothing is judged
	version   uint64
	diagnosis path.Diagnosis
	view      *path.Slot // what others read, never changed; nil: to be made anew
}

// Link is a network interface as the kernel reports it.
type Link struct {
	Device path.Device // what the kernel reports of it alone
	IsTap  bool        // a tun device of tap mode, or a macvtap
	IsVeth bool
	Peer   netns.Ifindex // of a veth
}

// Change is what happened to a link.
type Change struct {
	Time  time.Time
	Of    netns.Device
	New   *Link  // nil: it has gone
	Found bool   // it was there when the agent first looked: nothing happened
	Downs uint32 // how often the carrier went since the last change
}

// TakeLink takes a change of a link.
func (s *Slots) TakeLink(c Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[c.Of.Netns]
	s.takeVeth(sp, c)
	if sp == nil {
		return
	}
	p := s.taps[c.Of]
	switch {
	case p != nil && c.New == nil:
		s.tapGone(p, c)
	case p != nil:
		s.tapIs(p, c)
	case c.New != nil && (c.New.IsTap || c.New.Device.Name == sp.expects()):
		s.tapCame(sp, c)
	}
}

// tapCame makes the place of a tap. A tap that was missing takes the place where it
// was expected.
func (s *Slots) tapCame(sp *space, c Change) {
	p := sp.absent
	if p == nil || p.device.Name != c.New.Device.Name {
		p = &place{space: sp}
		sp.places[p] = struct{}{}
	} else {
		sp.absent = nil
	}
	p.key = Key{Device: c.Of}
	s.taps[c.Of] = p
	s.order = nil
	s.bindings.Add(1)
	p.device = c.New.Device
	s.noteDown(p)
	p.awaited = true
	if !c.Found {
		p.device.Since = c.Time
	}
	now := cmp.Or(c.Time, time.Now())
	if p.seen.IsZero() {
		p.seen = now
	}
	s.tell(p, now, path.SlotAdded, "tap of "+cmp.Or(sp.launcher(), "nobody that a rule knows"))
	s.lookVeth(p)
	s.phase(p, path.SlotReady, p.seen)
	s.wantHooks(p)
	s.resolve(p, now)
	s.touch(p)
	s.cfg.Ask(Hold, p.key)
}

// tapIs takes the new state of a tap.
func (s *Slots) tapIs(p *place, c Change) {
	was, d := p.device, c.New.Device
	d.Since, d.Holders, d.WasCalled = was.Since, was.Holders, was.WasCalled
	d.MACWas = macBefore(&was, &d)
	if was.Name != d.Name {
		d.WasCalled = cmp.Or(was.WasCalled, was.Name)
		if d.WasCalled == d.Name {
			d.WasCalled = ""
		}
		s.order = nil
		s.bindings.Add(1)
	}
	turned := was.Carrier != d.Carrier || c.Downs > 0 // for a moment, perhaps: another may hold it now
	if turned {
		d.Since, d.Holders, p.holders = c.Time, nil, nil // until they are read again
		p.awaited = true
		if p.stay != nil {
			p.stay.vmm.doubt()
		}
	}
	p.device = d
	s.noteDown(p)
	s.tellCarrier(p, was.Carrier, c)
	s.touch(p)
	if turned || was.Name != d.Name {
		s.cfg.Ask(Hold, p.key)
	}
}

// tapGone takes that a tap is there no more. Its place stays where a sandbox is at
// it or its launcher expects it.
func (s *Slots) tapGone(p *place, c Change) {
	kind := path.CarrierLost
	if p.device.Carrier == path.No { // it went before: what took it is not this
		kind = path.TapGone
	}
	s.tell(p, c.Time, kind, "the tap is gone")
	s.unhook(p, s.keep(p, c.Time))
	delete(s.taps, p.key.Device)
	s.bindings.Add(1)
	other := p.space.absent
	called := cmp.Or(p.device.WasCalled, p.device.Name)
	if p.stay == nil && (called != p.space.expects() || other != nil) || other != nil && other.stay != nil {
		s.drop(p, c.Time)
		return
	}
	if other != nil {
		s.drop(other, c.Time)
	}
	p.key = Key{Device: netns.Device{Netns: p.key.Netns}}
	p.device = path.Device{Name: called, Exists: path.No, Since: c.Time, Persistent: p.device.Persistent}
	p.holders, p.awaited = nil, false
	delete(s.down, p)
	p.space.absent = p
	if p.stay != nil {
		p.stay.vmm.doubt()
	}
	s.resolve(p, c.Time)
	s.touch(p)
	s.cfg.Ask(Hold, p.key)
}

// noteDown remembers the taps that are administratively down: of those the kernel
// reports no change of the carrier.
func (s *Slots) noteDown(p *place) {
	if p.device.AdminUp == path.No {
		s.down[p] = struct{}{}
	} else {
		delete(s.down, p)
	}
}

// Down returns the taps that are administratively down.
func (s *Slots) Down() (keys []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.down {
		keys = append(keys, p.key)
	}
	return keys
}

// expect keeps a place for the tap that somebody expects in a namespace and that is not
// there. It drops that place where nobody expects the tap any more, or where it has come.
func (s *Slots) expect(sp *space, now time.Time) {
	name, there := sp.expects(), sp.absent
	if there != nil && there.stay == nil && (there.device.Name != name || sp.tap(name) != nil) {
		s.drop(there, now)
		there = nil
	}
	unread := !sp.linksRead && sp.Linked // then it may well be there
	if name == "" || there != nil || unread || sp.tap(name) != nil {
		return
	}
	p := &place{key: Key{Device: netns.Device{Netns: sp.Cookie}}, space: sp, device: path.Device{Name: name}}
	sp.places[p] = struct{}{}
	sp.absent = p
	s.order = nil
	s.bindings.Add(1)
	s.tell(p, now, path.SlotAdded, "slot of "+cmp.Or(sp.launcher(), "nobody that a rule knows"))
	s.lookVeth(p)
}

// drop forgets a place. Its state goes at once; its counters are kept for a while.
func (s *Slots) drop(p *place, now time.Time) {
	if p.stay != nil {
		s.end(p, now)
	}
	s.tell(p, now, path.SlotRemoved, "the slot is gone")
	s.unhook(p, nil)
	if s.taps[p.key.Device] == p {
		delete(s.taps, p.key.Device)
	}
	delete(p.space.places, p)
	delete(p.space.besides, p)
	if p.space.absent == p {
		p.space.absent = nil
	}
	for _, set := range []map[*place]struct{}{s.bound, s.due, s.restless, s.troubled, s.waiting, s.boots, s.leaving, s.paused, s.taken, s.down} {
		delete(set, p)
	}
	p.space = nil
	s.order = nil
	s.bindings.Add(1)
}

// tellCarrier makes an event of a carrier that came or went. Flaps without an event
// of their own are reported with it, from the kernel's counters.
func (s *Slots) tellCarrier(p *place, was path.Tristate, c Change) {
	text := p.device.Name
	if c.Downs > 1 {
		text += ", lost several times since the last event"
	}
	switch is := p.device.Carrier; {
	case was != path.Yes && is == path.Yes:
		s.tell(p, c.Time, path.CarrierUp, "carrier on "+text)
		s.carrierCame(p, c.Time)
	case was != path.No && is == path.No:
		s.tell(p, c.Time, path.CarrierLost, "NO-CARRIER on "+text)
	case c.Downs > 0:
		s.tell(p, c.Time, path.CarrierLost, "NO-CARRIER for a moment on "+text)
	}
}

// macBefore returns the hardware address that the guest has learned, where the tap
// now has another.
func macBefore(was, now *path.Device) string {
	if was.Carrier != path.Yes || now.Carrier != path.Yes {
		return ""
	}
	mac := cmp.Or(was.MACWas, was.MAC)
	if mac == now.MAC {
		return ""
	}
	return mac
}

// tell makes an event of what happened at a place.
func (s *Slots) tell(p *place, now time.Time, kind path.EventKind, text string) {
	s.cfg.Publish(p.event(now, kind, text))
}

func (p *place) event(now time.Time, kind path.EventKind, text string) path.Event {
	e := path.Event{Time: now, Kind: kind, Netns: p.space.Name, Device: clean.Label(p.device.Name), Text: clean.Text(text)} // a tap's owner names it
	if p.stay != nil {
		e.SandboxID, e.Name = p.stay.SandboxID, p.stay.Name
	}
	return e
}
