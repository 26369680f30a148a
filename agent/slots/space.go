package slots

import (
	"net/netip"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// Namespace is what discovery found of one network namespace.
type Namespace struct {
	Cookie netns.Cookie
	Name   string // for people and labels; never empty
	Path   string // a file to enter it by; empty: none is known
	// Linked says that the kernel reports its links: it has an nsid, or is the agent's own.
	Linked bool
	Plan   *Plan // nil: it is no launcher's slot
	Claims []VMM // processes in it that are VMMs by their command lines
}

// Plan is what a launcher means a namespace for. Of our launcher a record says it,
// of E2B the name of the namespace.
type Plan struct {
	Launcher string // tapwatch, e2b
	Tap      string
	HostVeth string
	Addrs    Addrs
	// Assumed says that nothing but a name vouches for the addresses.
	Assumed    bool
	OwnerPID   int           // of the launcher; 0: unknown
	OwnerAlive path.Tristate // whether that process runs
	Sandbox    *Recorded     // nil: none is bound, or the launcher keeps no record
}

// Addrs are the addresses of a path; the zero ones are not known.
type Addrs struct {
	Vpeer netip.Addr // of the end of the veth pair in the namespace
	// Client is the address from which the host sends to the namespace.
	Client netip.Addr
	Host   netip.Addr // by which the host reaches the guest, in dnat paths
	Tap    netip.Addr // the host's on the tap: the guest's gateway
	Guest  netip.Addr
}

// or returns these addresses, with those of o where one is not known.
func (a Addrs) or(o Addrs) Addrs {
	either := func(a, b netip.Addr) netip.Addr {
		if a.IsValid() {
			return a
		}
		return b
	}
	return Addrs{Vpeer: either(a.Vpeer, o.Vpeer), Client: either(a.Client, o.Client), Host: either(a.Host, o.Host), Tap: either(a.Tap, o.Tap), Guest: either(a.Guest, o.Guest)}
}

// Recorded is a sandbox as the record of its launcher has it.
type Recorded struct {
	Identity
	BuildID, TemplateDir string
	Record               Record

	State      registry.State
	Shape      registry.Shape
	Created    time.Time
	VMM        Process
	VMMStarted time.Time
	VMMAlive   path.Tristate
}

// Record is the file that a sandbox is known by; the zero value is none.
type Record struct {
	Index int // of the slot
	Stamp registry.Stamp
}

// space is one namespace, and the places in it.
type space struct {
	Namespace
	linksRead bool // all of them, at least once
	since     time.Time
	places    map[*place]struct{}
	// absent is the place of the tap that is expected and not there; nil: there is none.
	absent *place
	// besides are the places of VMMs that want a tap which another has; nil mostly.
	besides map[*place]struct{}
	veths   veths
	paired  string // the host's end of its last veth pair; empty: none was ever seen
	// orphanSince is when the launcher of its record was seen to have ended; zero: it
	// runs, or had ended when the agent came.
	orphanSince time.Time
}

// TakeNamespace takes what discovery found of a namespace.
func (s *Slots) TakeNamespace(n Namespace, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[n.Cookie]
	if sp == nil {
		sp = &space{since: now, places: map[*place]struct{}{}}
		s.spaces[n.Cookie] = sp
	}
	if sp.Name != n.Name {
		s.order = nil
	}
	if was := sp.Plan; was != nil && n.Plan != nil && was.OwnerAlive == path.Yes && n.Plan.OwnerAlive == path.No {
		sp.orphanSince = now
	}
	before := map[*place]Addrs{}
	for p := range sp.places {
		if p.stay != nil {
			before[p] = p.addrs()
		}
	}
	sp.Namespace = n
	if n.Linked && !sp.linksRead {
		s.unlinked[sp] = struct{}{}
	} else {
		delete(s.unlinked, sp)
	}
	if len(n.Claims) > 0 {
		s.claiming[sp] = struct{}{}
	} else {
		delete(s.claiming, sp)
	}
	s.resolveAll(sp, now)
	for p := range sp.places {
		s.lookVeth(p)
		if was, ok := before[p]; ok && p.space != nil {
			s.readdress(p, was)
		}
		s.touch(p)
	}
}

// DropNamespace takes that a namespace has gone, with all that was in it.
func (s *Slots) DropNamespace(c netns.Cookie, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[c]
	if sp == nil {
		return
	}
	for p := range sp.places {
		s.drop(p, now)
	}
	s.host.unpair(sp)
	delete(s.claiming, sp)
	delete(s.unlinked, sp)
	delete(s.spaces, c)
}

// Linked takes that the links of a namespace have all been read, also where there
// are none that matter.
func (s *Slots) Linked(c netns.Cookie, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[c]
	if sp == nil || sp.linksRead {
		return
	}
	sp.linksRead = true
	delete(s.unlinked, sp)
	s.resolveAll(sp, now)
	for p := range sp.places {
		s.lookVeth(p)
		s.touch(p)
	}
}

// Unread says whether a namespace is known whose links have not all been read.
func (s *Slots) Unread(c netns.Cookie) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[c]
	return sp != nil && !sp.linksRead
}

// unlinkedPatience is how long links may take to be read of a namespace that nobody
// has a use for: it may be gone, or nobody may be allowed to read it.
const unlinkedPatience = 2 * time.Second

// Ready says whether the links of all namespaces that matter have been read.
func (s *Slots) Ready(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sp := range s.unlinked {
		if sp.Plan != nil || len(sp.Claims) > 0 || now.Sub(sp.since) < unlinkedPatience {
			return false
		}
	}
	return true
}

// Unlinked returns the namespaces whose links have not been read yet.
func (s *Slots) Unlinked() (of []netns.Cookie) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sp := range s.unlinked {
		of = append(of, sp.Cookie)
	}
	return of
}

// expects is the name of the tap that the plan of the namespace, or a VMM in it,
// expects; empty: nobody expects any.
func (sp *space) expects() string {
	if sp.Plan != nil {
		return sp.Plan.Tap
	}
	for i := range sp.Claims {
		if tap := sp.Claims[i].Identity.Tap; tap != "" {
			return tap
		}
	}
	return ""
}

// launcher is whose slot the namespace is; empty: nobody's that is known.
func (sp *space) launcher() string {
	if sp.Plan == nil {
		return ""
	}
	return sp.Plan.Launcher
}

// tap returns the place of the tap that has that name, or had it first; nil: there
// is none.
func (sp *space) tap(name string) *place {
	for p := range sp.places {
		if p.key.Ifindex != 0 && p.key.Claim == 0 && (p.device.Name == name || p.device.WasCalled == name) {
			return p
		}
	}
	return nil
}
