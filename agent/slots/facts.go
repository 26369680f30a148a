package slots

import (
	"cmp"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/clean"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// facts puts together what is known of a place.
func (s *Slots) facts(p *place, now time.Time) path.Facts {
	f := path.Facts{
		Now:      now,
		Netns:    p.space.Name,
		Host:     p.space.Cookie == s.cfg.Self,
		Cookie:   p.space.Cookie,
		Launcher: p.space.launcher(), ServicePort: s.cfg.Port,
		Veth:    p.veth,
		Device:  s.device(p),
		Traffic: p.traffic,
		Proxy:   s.proxy, CloseLook: &path.NotLooked,
	}
	if p.key.Claim != 0 {
		f.Traffic = nil // it is the other one's
	}
	if p.stay == nil {
		if h := p.stranger; h != nil {
			holder := s.holder(h)
			f.Unidentified = &holder
		}
		f.Stray = p.stray
		return f
	}
	s.ofStay(p, &f, now)
	return f
}

// ofStay adds what is known of the sandbox at a place.
func (s *Slots) ofStay(p *place, f *path.Facts, now time.Time) {
	st := p.stay
	f.Relay, f.Health, f.Through, f.Template = st.relay, st.health, st.through, st.template
	f.Seen, f.Requests, f.Loss, f.Dropped = st.seen.seen(), st.requests(), st.loss, st.dropped
	f.Assumed = p.assumed()
	if s.cfg.Silenced != nil {
		f.Silence = s.cfg.Silenced(p.space.Name, st.SandboxID, st.Name, now)
	}
	if f.Silence == nil && now.Before(st.Silence.Until) {
		silence := st.Silence // views share facts, and the stay's may change
		f.Silence = &silence
	}
	f.Proxy.Expected = f.Proxy.Expected || !st.foreign
	_, leaving := s.leaving[p]
	f.Sandbox = &path.Sandbox{
		ID: st.SandboxID, Name: st.Name, TemplateID: st.TemplateID, BuildID: st.BuildID, Team: st.Team, Labels: st.Labels,
		Source: st.Launcher, Foreign: st.foreign, Shape: p.shapeOf(), Orphan: st.orphan,
		Since: st.created, Booting: st.booting(now), Ending: st.endingAt(now) || leaving && st.awaitsExit(), Paused: st.state == registry.Paused, ConsoleFile: st.Console, Boot: st.boot,
		VMMPID: st.vmm.PID, VMMCommand: st.vmm.command, VMMAlive: st.vmm.alive, VMMStopped: st.vmm.stopped, VMMZombie: st.vmm.zombie,
		VMMExit: st.vmm.exit, API: st.vmm.api, Holds: st.held,
	}
	if c := st.inspection; c != nil {
		f.CloseLook = &c.CloseLook
		f.Sandbox.Console, f.Sandbox.VMMUser, f.Sandbox.Process = c.Console, c.VMMUser, c.VMM
		f.Sandbox.VMMMACs = c.VMMMACs
		f.Device.Tun, f.Device.Neighbour = c.Tun, c.Neighbour
	}
}

// device is the tap of a place as the kernel has it.
func (s *Slots) device(p *place) path.Device {
	d := p.device
	if p.key.Claim != 0 { // it is another place's
		if at := s.taps[p.key.Device]; at != nil {
			d = at.device
		} else if absent := p.space.absent; absent != nil {
			d = absent.device
		}
	}
	d.Name, d.WasCalled = clean.Label(d.Name), clean.Label(d.WasCalled)
	at := p.addrs()
	if at.Tap.IsValid() {
		d.Addr = at.Tap.String()
	}
	if at.Guest.IsValid() {
		d.GuestAddr = at.Guest.String()
	}
	if d.Ifindex == 0 {
		d.Exists = path.Unknown
		if p.space.linksRead && d.Name != "" {
			d.Exists = path.No
		}
	}
	if p.stay != nil && (d.Exists == path.No || d.Persistent == path.No) {
		d.Elsewhere = s.elsewhere(p)
	}
	return d
}

// elsewhereMost bounds how many namespaces are named.
const elsewhereMost = 4

// elsewhere names the namespaces with a tap that goes by the name that this place
// expects and that nobody holds, where no slot is: it was made there, or has been
// moved there.
func (s *Slots) elsewhere(p *place) (in []string) {
	name := cmp.Or(p.space.expects(), p.device.Name)
	for _, q := range s.looseTaps()[name] {
		if q.loose() && q.space != p.space && len(in) < elsewhereMost {
			in = append(in, s.spaceName(q.space))
		}
	}
	return in
}

// loose says whether a tap is nobody's: it is persistent, nobody holds it, no sandbox
// is at it, and no slot is where it is.
func (p *place) loose() bool {
	return p.space != nil && p.key.Ifindex != 0 && p.stay == nil && p.holders != nil && len(p.holders) == 0 &&
		p.device.Persistent == path.Yes && p.space.Plan == nil
}

// looseTaps returns the taps that are nobody's, by name. They are found again after a
// tap without a sandbox has changed: of thousands of taps few do.
func (s *Slots) looseTaps() map[string][]*place {
	if s.looseByName == nil {
		s.looseByName = map[string][]*place{}
		for _, q := range s.taps {
			if q.loose() {
				s.looseByName[q.device.Name] = append(s.looseByName[q.device.Name], q)
			}
		}
	}
	return s.looseByName
}

func (s *Slots) spaceName(sp *space) string {
	if sp.Cookie == s.cfg.Self {
		return "the host's namespace"
	}
	return sp.Name
}

// Path is where the requests to a sandbox pass. What a path of its shape has not is
// left out; of a shape that is not known it has whatever is used.
type Path struct {
	Netns netns.Cookie
	Tap   netns.Ifindex
	Addrs Addrs
}

// Paths returns where the requests to the sandboxes pass, at most one path of a
// namespace and none of the agent's own.
func (s *Slots) Paths() (all []Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, sp := range s.spaces {
		p := sp.measured()
		if p == nil || c == s.cfg.Self {
			continue
		}
		at, shape := p.addrs(), p.shapeOf()
		if !at.Guest.Is4() {
			continue
		}
		one := Path{Netns: c, Tap: p.key.Ifindex, Addrs: Addrs{Guest: at.Guest}}
		if path.HasRelay(shape) {
			one.Addrs.Vpeer = at.Vpeer
		}
		if shape == registry.DNAT || shape == "" {
			one.Addrs.Host = at.Host
		}
		all = append(all, one)
	}
	return all
}
