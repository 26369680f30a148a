package agent

import (
	"maps"
	"net/netip"
	"sync/atomic"
	"time"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/discover"
	"tapwatch/agent/link"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/e2b"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// slot is what the model keeps of one namespace that is somebody's slot.
type slot struct {
	entry *discover.Entry // Binding is never nil
	name  string          // its namespace's last one: a namespace that is deleted loses its name first
	addrs addrs           // of the entry's binding

	links        bool     // the namespace's links have been read
	elsewhere    []string // where its tap is instead, as path.Device has it
	tap          *link.Link
	tapSeen      time.Time     // first; zero: never
	carrierSince time.Time     // of the present carrier; zero: as it was found
	holders      []path.Holder // nil: unknown
	// vmmAlive is what a look at the VMM said after the carrier went; unknown:
	// what discovery last said holds.
	vmmAlive    path.Tristate
	vmmExit     *path.VMMExit // as the kernel told it; nil: it has not
	vmmExitTold bool          // that the kernel will tell it
	// vmmGoneSince is since when it is known to be gone; zero: it is not.
	vmmGoneSince time.Time
	// vmmStopped is what the same look said; unknown while all is well.
	vmmStopped  path.Tristate
	zombieSince time.Time // that the VMM is one; zero: it is not
	relay       path.Listener
	template    *path.Template // nil: unknown
	veth        path.Veth
	macWas      string         // as path.Device has it
	held        []path.HeldTap // by the VMM; nil: unknown
	health      path.Health    // of envd, asked at the tap; zero: not asked
	through     path.Health    // the same through the whole path
	asked       asked
	api         *path.VMMAPI // of the VMM; nil: not asked
	seen        *traffic     // of the sandboxes' hops; nil: none yet
	closer      *closer      // what the last close look found; nil: there was none

	hooks        *hooked
	attaching    bool        // the hooker has been told to
	attempt      uint64      // of attaching; one that is given up has an older one
	attachFailed atomic.Bool // the last attempt did, and it was said

	endingSince time.Time // that its launcher says so; zero: it does not

	boot      *path.Boot // of the sandbox; nil: none is bound
	diagnosis path.Diagnosis
	stale     bool       // the facts have changed since
	view      *path.Slot // what others read, never changed; nil: to be made anew
}

// addrs are the addresses of a binding's path; the zero ones are not known.
type addrs struct{ vpeer, host, guest netip.Addr }

func addrsOf(b *discover.Binding) (a addrs) {
	a.vpeer, _ = netip.ParseAddr(b.VpeerIP)
	a.host, _ = netip.ParseAddr(b.HostIP)
	a.guest, _ = netip.ParseAddr(b.GuestIP)
	return a
}

// hooked is a tap that carries our hooks.
type hooked struct {
	device   netns.Device
	read     bool // the counters have been
	unread   bool // they could not be, the last time
	counters probe.Counters
	hidings  hidings
	// When each reason to drop frames was last seen to have grown.
	lastDrops map[string]time.Time
	// portRefusedSince is since when connections to one port, not envd's, have been
	// refused without a long pause.
	portRefusedSince ktime.Moment
	// The first request that still waits for an answer, as far as reading the
	// counters now and then can tell.
	arpWaiting, envdWaiting ktime.Moment
}

// update takes newly read counters and reports whether they say anything new.
func (h *hooked) update(c probe.Counters, now time.Time) bool {
	if h.counters == c {
		return false
	}
	h.noteDrops(&c, now)
	if last := h.counters.LastPortRefused; c.LastPortRefused > last && (c.RefusedPort != h.counters.RefusedPort || c.LastPortRefused-last > refusalPause) {
		h.portRefusedSince = c.LastPortRefused
	}
	h.counters = c
	// A guest that announces its address, as it boots, needs not reply: that it takes
	// connections, or refuses them, shows that it was found.
	h.arpWaiting = waiting(h.arpWaiting, c.LastARPRequest, max(c.LastARPReply, c.LastEnvdSYNACK, c.LastEnvdRefused))
	h.envdWaiting = waiting(h.envdWaiting, c.LastEnvdSYN, max(c.LastEnvdSYNACK, c.LastEnvdRefused))
	return true
}

// refusalPause is the pause between two refusals after which they are two troubles.
const refusalPause = ktime.Moment(10 * time.Second)

// noteDrops keeps which reasons have grown since the last reading. Of what a first
// one finds, also where the counters began anew, nobody knows when it was.
func (h *hooked) noteDrops(c *probe.Counters, now time.Time) {
	if h.counters.Created != c.Created {
		h.lastDrops = map[string]time.Time{}
		return
	}
	for _, d := range c.Drops {
		if d.Count > h.counters.Drops.Of(d.Reason) {
			h.lastDrops[d.Reason] = now
		}
	}
}

// looked is what the last close look found: nothing where there was none.
func (s *slot) looked() closer {
	if s.closer == nil {
		return closer{}
	}
	return *s.closer
}

// changed says that the facts have.
func (s *slot) changed() { s.view, s.stale = nil, true }

// restless says whether time alone may change the slot's diagnosis, or something
// has changed since: a sandbox boots, a request waits for its answer, or a warning passes.
func (s *slot) restless() bool {
	return s.stale || s.diagnosis.State == path.Booting || !s.endingSince.IsZero() || s.foreignEnds() || s.awaitsExit() || diagnose.Passing(s.diagnosis) ||
		s.waits()
}

// waits says whether a request waits for its answer.
func (s *slot) waits() bool {
	return s.hooks != nil && (s.hooks.arpWaiting != 0 || s.hooks.envdWaiting != 0)
}

// look sees whether the VMM is still there: a carrier that went may have gone
// with it, and discovery saw it last some time ago.
func (s *slot) look() {
	if s.vmmExit == nil && s.tap != nil && carrierOf(s.tap) == path.No && s.entry.Binding.VMMAlive == path.Yes {
		s.vmmAlive = discover.Alive(s.entry.Binding.VMM)
		if s.vmmAlive == path.No {
			s.noteVMMGone(time.Now())
		}
	}
	s.vmmStopped = discover.Stopped(s.entry.Binding.VMM)
	switch {
	case s.vmmStopped != path.Unknown || !s.entry.Binding.VMM.Zombie(): // it runs, or is gone for good
		s.zombieSince = time.Time{}
	case s.zombieSince.IsZero():
		s.zombieSince = time.Now()
	}
}

// endingPatience is how long a launcher may take to remove a sandbox before what
// is broken of it is told all the same.
const endingPatience = 15 * time.Second

func (s *slot) noteEnding(now time.Time) {
	switch ending := s.entry.Binding.State == registry.Ending; {
	case !ending:
		s.endingSince = time.Time{}
	case s.endingSince.IsZero():
		s.endingSince = now
	}
}

// reapPatience is how long a launcher may take to wait for a VMM that it ended.
const reapPatience = 2 * time.Second

func (s *slot) foreignEnds() bool {
	return s.entry.Binding.Source == discover.Firecracker && s.vmmExit != nil && s.vmmExit.Wanted
}

func (s *slot) noteVMMGone(now time.Time) {
	if s.vmmGoneSince.IsZero() {
		s.vmmGoneSince = now
	}
}

// awaitsExit says whether a foreign VMM is gone and the kernel has yet to tell how.
func (s *slot) awaitsExit() bool {
	return s.entry.Binding.Source == discover.Firecracker && s.vmmExitTold && s.vmmExit == nil && !s.vmmGoneSince.IsZero()
}

// endingAt says whether the sandbox is being removed. A foreign launcher says
// nothing of it: that it ended the VMM does. Whether it did may be told a moment
// after the VMM is seen to be gone.
func (s *slot) endingAt(now time.Time) bool {
	if s.awaitsExit() {
		return now.Sub(s.vmmGoneSince) < exitAwaited
	}
	if s.foreignEnds() {
		return now.Sub(s.vmmExit.Time) < reapPatience
	}
	return !s.endingSince.IsZero() && now.Sub(s.endingSince) < endingPatience
}

// waiting keeps the time of the first request after the last answer.
func waiting(first, request, answer ktime.Moment) ktime.Moment {
	switch {
	case request <= answer:
		return 0
	case first > answer:
		return first
	}
	return request
}

// facts puts together what is known of the slot.
func (s *slot) facts(now time.Time, proxy path.Listener) path.Facts {
	near := s.looked()
	f := path.Facts{
		Now:      now,
		Netns:    s.entry.Name,
		Cookie:   s.entry.Cookie,
		Proxy:    proxy,
		Relay:    s.relay,
		Veth:     s.veth,
		Rules:    near.rules,
		Inside:   near.within.Inside,
		Health:   s.health,
		Through:  s.through,
		Device:   s.device(&near),
		Template: s.template,
		Seen:     seenOf(s.saw()),
	}
	if s.hooks != nil && s.hooks.counters.Created != 0 { // not read yet is not zero
		f.Traffic = s.hooks.traffic()
	}
	if b := s.entry.Binding; !b.Idle {
		f.Sandbox = sandbox(b, now)
		f.Sandbox.VMMExit, f.Sandbox.Boot = s.vmmExit, s.boot
		f.Sandbox.Ending = s.endingAt(now)
		f.Sandbox.Console, f.Sandbox.Holds = near.console.Faults, s.held
		if s.vmmAlive != path.Unknown {
			f.Sandbox.VMMAlive = s.vmmAlive
		}
		f.Sandbox.VMMUser = near.vmm
		f.Sandbox.VMMStopped, f.Sandbox.API = s.vmmStopped, s.api
		f.Sandbox.VMMZombie = s.zombieSince
	}
	return f
}

func sandbox(b *discover.Binding, now time.Time) *path.Sandbox {
	s := &path.Sandbox{
		ID:         b.SandboxID,
		Name:       b.Name,
		TemplateID: b.TemplateID,
		BuildID:    b.BuildID,
		Source:     string(b.Source),
		Shape:      b.Shape,
		VMMPID:     b.VMM.PID,
		VMMAlive:   b.VMMAlive,
		Since:      b.CreatedAt,
	}
	// Who launched it says so; of a foreign one only its age is known.
	if b.State != "" {
		s.Booting = b.State == registry.Booting
	} else if !b.CreatedAt.IsZero() {
		s.Booting = now.Sub(b.CreatedAt) < foreignBootGrace
	}
	return s
}

// foreignBootGrace is how long a sandbox of another launcher may be broken
// before it is called so.
const foreignBootGrace = 30 * time.Second

func (s *slot) device(near *closer) path.Device {
	b := s.entry.Binding
	d := path.Device{Name: b.Tap, Addr: e2b.TapAddr, GuestAddr: b.GuestIP}
	if !s.links {
		return d
	}
	d.Exists = path.Known(s.tap != nil)
	if s.tap == nil {
		d.Elsewhere = s.elsewhere
		return d
	}
	d.AdminUp = path.Known(s.tap.AdminUp)
	d.Carrier = carrierOf(s.tap)
	d.MTU, d.MAC, d.MACWas = s.tap.MTU, s.tap.Addr.String(), s.macWas
	d.Operstate = s.tap.Operstate.String()
	d.OperstateStaleSince = s.tap.StaleSince
	d.Since = s.carrierSince
	d.Ups, d.Downs = s.tap.UpCount, s.tap.DownCount
	d.Holders = s.holders
	d.Tun, d.Neighbour = near.within.Tun, near.within.Neighbour
	return d
}

func carrierOf(l *link.Link) path.Tristate {
	switch l.Carrier {
	case link.Up:
		return path.Yes
	case link.Down:
		return path.No
	}
	return path.Unknown
}

func (h *hooked) traffic() *path.Traffic {
	c := &h.counters
	t := &path.Traffic{
		ReceivePackets:  c.ReceivePackets,
		TransmitPackets: c.TransmitPackets,
		ReceiveBytes:    c.ReceiveBytes,
		TransmitBytes:   c.TransmitBytes,
		Since:           c.Created.Time(),
		ReceiveResets:   c.Resets[probe.ResetByGuest],
		RelayResets:     c.Resets[probe.ResetByRelay],
		KernelResets:    c.Resets[probe.ResetByKernel],
		ForwardedResets: c.Resets[probe.ResetByOthers],
		ARPRequests:     c.ARPRequests,
		ARPReplies:      c.ARPReplies,
		SYNs:            c.SYNs,
		SYNRetransmits:  c.SYNRetransmits,
		SYNACKs:         c.SYNACKs,
		SYNsRefused:     c.SYNsRefused,
		SYNsUnanswered:  c.SYNsUnanswered,
		LastReceive:     c.LastReceive.Time(),
		LastARPRequest:  c.LastARPRequest.Time(),
		LastARPReply:    c.LastARPReply.Time(),
		LastEnvdSYN:     c.LastEnvdSYN.Time(),
		LastEnvdSYNACK:  c.LastEnvdSYNACK.Time(),
		LastEnvdRefused: c.LastEnvdRefused.Time(),
		ARPWaiting:      h.arpWaiting.Time(),
		EnvdWaiting:     h.envdWaiting.Time(),

		PortsRefused: c.PortsRefused, RefusedPort: c.RefusedPort,
		LastPortRefused: c.LastPortRefused.Time(), PortRefusedSince: h.portRefusedSince.Time(),
	}
	if c.Losses {
		retransmits := c.Retransmits // a view may outlive the next reading
		t.Retransmits, t.TransmitDrops = &retransmits, map[string]uint64{}
		t.LastDrops = maps.Clone(h.lastDrops)
		for _, d := range c.Drops {
			if d.Count > 0 {
				t.TransmitDrops[d.Reason] = d.Count
			}
		}
	}
	h.hidings.addTo(t)
	return t
}
