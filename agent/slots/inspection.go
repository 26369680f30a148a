package slots

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// Inspection is what a close look at a sandbox found: nothing where it could not look.
type Inspection struct {
	Console []path.ConsoleFault
	path.CloseLook
	Tun       *path.Tun
	Neighbour *path.Neighbour
	VMMUser   *path.User       // nil: unknown
	VMM       *path.VMMProcess // nil: unknown
	VMMMACs   []string
}

// TakeInspection takes what a look found.
func (s *Slots) TakeInspection(t Target, found *Inspection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(t)
	if p == nil || p.stay.vmm.Process != t.VMM {
		return
	}
	if p.addrs() != t.Addrs || p.device.Name != t.Tap { // it was looked for other addresses, or at another name
		s.cfg.Ask(Inspect, p.key)
		return
	}
	before := p.stay.inspection
	if before != nil { // the console is read by itself
		found.Console = before.Console
		was, is := before.Inside.Conntrack, &found.Inside.Conntrack
		is.LastDrop = was.LastDrop
		if was.Max != 0 && is.Drops > was.Drops { // else it was not read before
			is.LastDrop = time.Now()
		}
		grown(before.Inside.Overflows, found.Inside.Overflows)
		grown(before.Inside.OtherHost, found.Inside.OtherHost)
	}
	p.stay.inspection, p.stay.inspected = found, t.Taken
	if before == nil || !before.same(found) {
		s.touch(p)
	}
}

// grown notes in a count when it grew last.
func grown(was, is *path.Counted) {
	if was == nil || is == nil {
		return
	}
	is.Last = was.Last
	if is.Count > was.Count {
		is.Last = time.Now()
	}
}

// TakeConsole takes what the console of a guest says: the rest is as it was found.
func (s *Slots) TakeConsole(t Target, faults []path.ConsoleFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(t)
	if p == nil {
		return
	}
	found := Inspection{}
	if p.stay.inspection != nil {
		found = *p.stay.inspection
	}
	said := make([]path.ConsoleFault, len(faults)) // what was read before keeps its time
	for i, fault := range faults {
		said[i] = path.ConsoleFault{Code: fault.Code, Line: fault.Line, Read: time.Now()}
		for _, was := range found.Console {
			if was.Code == fault.Code && was.Line == fault.Line {
				said[i] = was
			}
		}
	}
	if slices.Equal(found.Console, said) {
		return
	}
	found.Console = said
	p.stay.inspection = &found
	s.touch(p)
}

func (c *Inspection) same(o *Inspection) bool {
	return reflect.DeepEqual(c.judged(), o.judged())
}

// judged is what checks make something of: a table of connections that is not full
// has another count at every look.
func (c *Inspection) judged() Inspection {
	j := *c
	if t := &j.Inside.Conntrack; !t.NearlyFull() {
		t.Count, t.Drops, t.LastDrop = 0, 0, time.Time{}
	}
	j.Inside.Vpeer, j.Inside.Client = settled(j.Inside.Vpeer), settled(j.Inside.Client)
	return j
}

// settled leaves out how fresh a neighbour is, which changes all the time.
func settled(n *path.Neighbour) *path.Neighbour {
	if n == nil || n.State == "PERMANENT" || n.State == "NOARP" {
		return n
	}
	return &path.Neighbour{Addr: n.Addr, MAC: n.MAC}
}

// Topology is how requests reach the guest behind a tap, as the kernel has it.
type Topology struct {
	Addrs  Addrs
	Shape  registry.Shape // empty: unknown
	Bridge string         // whose port the tap is; empty: none
}

// TakeTopology takes how requests reach the guest behind a tap.
func (s *Slots) TakeTopology(k Key, t Topology) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.find(k)
	if p == nil {
		return
	}
	// What was there and has gone is a fault, and not another topology.
	t.Addrs = t.Addrs.or(p.kernel)
	t.Shape = cmp.Or(t.Shape, p.shape)
	if p.kernel == t.Addrs && p.shape == t.Shape && p.device.Bridge == t.Bridge {
		return
	}
	before := p.addrs()
	p.kernel, p.shape, p.device.Bridge = t.Addrs, t.Shape, t.Bridge
	s.readdress(p, before)
	s.bindings.Add(1)
	s.touch(p)
	s.cfg.Ask(Listen)
}

// readdress forgets what was found of a place at other addresses than it has now.
func (s *Slots) readdress(p *place, before Addrs) {
	now := p.addrs()
	if p.stay == nil || now == before {
		return
	}
	if now.Vpeer != before.Vpeer {
		p.stay.relay = path.Listener{} // it was looked for elsewhere
		s.unheard[p] = struct{}{}
	}
	if c := p.stay.inspection; c != nil {
		p.stay.inspection = &Inspection{Console: c.Console, VMMUser: c.VMMUser, VMM: c.VMM, VMMMACs: c.VMMMACs}
	}
	s.cfg.Ask(Inspect, p.key)
	s.cfg.Ask(Listen)
}

const (
	// inspectRarely is how many times lie between two looks at a sandbox whose trouble
	// is older than inspectFresh: what would end it is mostly reported.
	inspectRarely = 5
	inspectFresh  = 10 * time.Second
)

// DueInspections returns the sandboxes in trouble that are to be looked at the nth
// time, at most so many.
func (s *Slots) DueInspections(n int, now time.Time, most int) (due []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.troubled {
		if len(due) == most {
			break
		}
		if p.freshlyTroubled(now) || int(p.key.Netns)%inspectRarely == n%inspectRarely {
			due = append(due, s.target(p))
		}
	}
	return due
}

// Untroubled returns a sandbox as it is now, and whether it is there and in no trouble.
func (s *Slots) Untroubled(t Target) (Target, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(t)
	if p == nil {
		return t, false
	}
	_, troubled := s.troubled[p]
	return s.target(p), !troubled
}

// isTroubled says whether something is broken, a request waits, or the sandbox boots.
func (p *place) isTroubled() bool {
	return len(p.diagnosis.Findings) > 0 || p.diagnosis.State == path.Booting || p.waits() || p.stay != nil && p.stay.booting(time.Now())
}

// freshlyTroubled says whether some of the trouble is so new that it may be another
// thing in a moment.
func (p *place) freshlyTroubled(now time.Time) bool {
	if t := p.traffic; t != nil && (now.Sub(t.EnvdWaiting) < inspectFresh || now.Sub(t.ARPWaiting) < inspectFresh) {
		return true
	}
	return len(p.diagnosis.Findings) == 0 || p.diagnosis.State == path.Booting || slices.ContainsFunc(p.diagnosis.Findings, func(f path.Finding) bool {
		return now.Sub(f.Since) < inspectFresh
	})
}
