package slots

import (
	"net/netip"
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// Target is a sandbox as a worker needs to know it, to read something of it. What is
// read comes back with the target, and is dropped where another sandbox is there by
// then.
type Target struct {
	Key     Key
	Stay    uint64 // which sandbox
	Sandbox string // its id
	VMM     Process

	Path    string // of the namespace
	Netns   string // its name
	Tap     string
	Veth    path.Veth
	Addrs   Addrs
	Shape   registry.Shape
	Bridge  string // whose port the tap is; empty: none
	Foreign bool
	Host    bool       // the namespace is the agent's own
	Frames  netip.Addr // the guest's address by its own frames; not valid: unknown

	Socket, Console, TemplateDir string

	ProxyPID, RelayPID int       // that listen; 0: unknown
	Record             Record    // zero of a foreign one
	Taken              time.Time // when this was so
	NoProxy, NoRelay   bool      // nobody listened there when that was read last

	Carrier path.Tristate
	Waiting bool // a SYN is, and nothing has come from the guest since, or no answer to ARP
	Waited  bool // a SYN is, for longer than a guest takes to answer
	Booting bool
	Calm    bool // nothing is wrong with it, as far as is known
}

// Reached is the address by which the host reaches the sandbox, as its proxies do; not
// valid: there is none.
func (t Target) Reached() netip.Addr {
	switch {
	case t.Host:
		return t.Addrs.Guest
	case t.Shape == registry.DNAT && t.Addrs.Host.IsValid():
		return t.Addrs.Host
	case t.Shape == registry.Fused, t.Veth.Host == "":
		return netip.Addr{}
	}
	return t.Addrs.Vpeer
}

func (s *Slots) target(p *place) Target {
	st := p.stay
	t := Target{Key: p.key, Stay: st.serial, Sandbox: st.SandboxID, VMM: st.vmm.Process,
		Path: p.space.Path, Netns: p.space.Name, Tap: p.device.Name, Veth: p.veth, Addrs: p.addrs(), Shape: p.shapeOf(), Bridge: p.device.Bridge, Foreign: st.foreign, Host: p.space.Cookie == s.cfg.Self, Frames: p.guest,
		Record: st.record, Taken: time.Now(), NoProxy: s.proxy.Listening == path.No, NoRelay: st.relay.Listening == path.No,
		Socket: st.Socket, Console: st.Console, TemplateDir: st.TemplateDir,
		ProxyPID: s.proxy.Process.PID, RelayPID: st.relay.Process.PID,
		Carrier: p.device.Carrier, Booting: st.booting(time.Now())}
	_, troubled := s.troubled[p]
	t.Calm = !troubled && !s.cfg.NoHooks // one look knows nothing
	if f := p.traffic; f != nil {
		t.Waited = !f.EnvdWaiting.IsZero() && time.Since(f.EnvdWaiting) > waitsLong
		// A guest that sends frames of its own, and answers none, may be asked by ARP too.
		heard := f.LastReceive
		if t.Waited {
			heard = f.LastARPReply
		}
		t.Waiting = !f.EnvdWaiting.IsZero() && f.ARPWaiting.IsZero() && heard.Before(f.EnvdWaiting)
	}
	return t
}

// waitsLong is how long a SYN may wait before it is asked why. Guests answer sooner.
const waitsLong = 500 * time.Millisecond

// of returns the place of a target that still has the same sandbox; nil: it has not.
func (s *Slots) of(t Target) *place {
	p := s.find(t.Key)
	if p == nil || p.stay == nil || p.stay.serial != t.Stay {
		return nil
	}
	return p
}

// addrs are the addresses of the path: those that a record or the kernel has, else
// those that a name leads to expect.
func (p *place) addrs() Addrs {
	plan := p.space.Plan
	switch {
	case plan != nil && !plan.Assumed:
		return plan.Addrs.or(p.kernel)
	case plan != nil:
		return p.kernel.or(plan.Addrs)
	case p.stay != nil:
		return p.kernel.or(Addrs{Guest: p.stay.Guest})
	}
	return p.kernel
}

// vpeer is addrs().Vpeer.
func (p *place) vpeer() netip.Addr {
	plan := p.space.Plan
	if plan == nil || plan.Assumed && p.kernel.Vpeer.IsValid() || !plan.Assumed && !plan.Addrs.Vpeer.IsValid() {
		return p.kernel.Vpeer
	}
	return plan.Addrs.Vpeer
}

// assumed says whether the address of the guest or of the way to it is nothing but
// expected.
func (p *place) assumed() bool {
	switch plan := p.space.Plan; {
	case plan != nil && plan.Assumed:
		return !p.kernel.Guest.IsValid() || !p.kernel.Vpeer.IsValid()
	case plan == nil && p.stay != nil && p.stay.Guest.IsValid():
		return !p.kernel.Guest.IsValid()
	}
	return false
}

// shapeOf is the shape of the path, by the record, else by the kernel.
func (p *place) shapeOf() registry.Shape {
	if p.stay != nil && p.stay.shape != "" {
		return p.stay.shape
	}
	return p.shape
}

// Bound returns all sandboxes, in no order. Into is room for them.
func (s *Slots) Bound(into []Target) []Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	into = slices.Grow(into[:0], len(s.bound))
	for p := range s.bound {
		into = append(into, s.target(p))
	}
	return into
}

// Targets returns those of some places that have a sandbox.
func (s *Slots) Targets(keys ...Key) (of []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		if p := s.find(k); p != nil && p.stay != nil {
			of = append(of, s.target(p))
		}
	}
	return of
}

// Troubled returns the sandboxes with a finding, a boot, or a request that waits.
func (s *Slots) Troubled() (of []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.troubled {
		if p.stay != nil {
			of = append(of, s.target(p))
		}
	}
	return of
}

// In returns the keys of the places of a namespace that have a sandbox.
func (s *Slots) In(c netns.Cookie) (keys []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[c]
	if sp == nil {
		return nil
	}
	for p := range sp.places {
		if p.stay != nil {
			keys = append(keys, p.key)
		}
	}
	return keys
}

// Beyond returns the keys of the places with a sandbox that the host reaches by an address
// of that prefix, or by that link of its own. The zero value is any.
func (s *Slots) Beyond(to netip.Prefix, link netns.Ifindex) (keys []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	by, known := s.host.ends[link]
	for p := range s.bound {
		if link != 0 && (!known || p.veth.Host != by.name) {
			continue
		}
		if at := p.addrs(); !to.IsValid() || to.Contains(at.Vpeer) || to.Contains(at.Host) || to.Contains(at.Client) {
			keys = append(keys, p.key)
		}
	}
	return keys
}

// Taps returns the keys of all places.
func (s *Slots) Taps() (keys []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sp := range s.spaces {
		for p := range sp.places {
			keys = append(keys, p.key)
		}
	}
	return keys
}

// Suspicious returns the sandboxes without carrier: that a VMM elsewhere took another
// tap is not reported by the kernel.
func (s *Slots) Suspicious() (odd []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.troubled {
		if p.stay != nil && p.device.Carrier != path.Yes {
			odd = append(odd, p.key)
		}
	}
	return odd
}

// measured is the place of a namespace through which requests are measured: a
// namespace is one path there; nil: it has none.
func (sp *space) measured() (first *place) {
	for p := range sp.places {
		if p.stay != nil && p.key.Claim == 0 && (first == nil || p.key.Ifindex < first.key.Ifindex) {
			first = p
		}
	}
	return first
}
