package agent

import (
	"cmp"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/discover"
	"tapwatch/agent/events"
	"tapwatch/agent/link"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/recorder"
	"tapwatch/agent/sockets"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
)

// model is the state of all slots. What is told (Agent.watch) and what is read
// (Agent.observe, hooker, holders) changes it under mu, which nobody keeps while
// asking the kernel: a carrier that goes waits for none of them.
type model struct {
	log     *slog.Logger
	events  *events.Hub
	probe   *probe.Probe
	listens *sockets.Iterator // nil: unknown
	links   *link.Watcher
	hooker  *hooker

	noHooks    bool // taps are left as they are
	tellsExits bool // the kernel does, of every bound VMM
	// newlyBound is called for each sandbox that comes. It must not wait.
	newlyBound func(*slot)
	nameOf     func(netns.Cookie) string // of a namespace, in words where it has none; nil: not known
	recorder   *recorder.Recorder
	began      time.Time // of this agent's watch

	mu      sync.Mutex
	slots   map[netns.Cookie]*slot
	bound   map[*slot]struct{} // those with a sandbox: few among thousands of idle ones
	waiting map[*slot]struct{} // those where a request waits for its answer, and some where none does any more
	order   []*slot            // by name; nil after a slot came, went or was renamed
	// bindings counts what changed of whose the slots are, and of which taps they
	// have: who goes over all of them for that alone needs not while it stands.
	bindings atomic.Uint64
	proxy    path.Listener
	retired  latency // of hooks that are gone

	self      netns.Cookie          // our own namespace
	hostLinks map[string]*link.Link // of it, by name
	byVeth    map[string]*slot      // by the host's end of the veth pair

	byVMM      map[int]*slot         // by the pid of the sandbox's VMM
	departing  map[*slot]departure   // whose foreign VMM has gone
	boots      map[*slot]struct{}    // with a sandbox whose boot is not settled
	bootPhases map[path.Phase]*times // of those that are

	readySince time.Time // that everything is known; zero: it is not

	// These are observe's alone.
	processes          processes
	readAt, idleReadAt ktime.Moment // the last readings of counters, of bound and of all slots
	activity           probe.Activity
	quickAt            ktime.Moment // the last look at those that wait

	relays []relayReading // readListeners' last ones, for their room

	pruned bool // counters of devices that went before the agent came

	grace time.Duration // of series
	gone  []*gone       // by when their grace ends
}

func newModel(a *Agent, log *slog.Logger) *model {
	m := &model{log: log, events: &a.events, probe: a.probe, listens: a.listens, links: a.links,
		hooker: newHooker(a.probe, log), slots: map[netns.Cookie]*slot{}, bound: map[*slot]struct{}{}, waiting: map[*slot]struct{}{},
		recorder: recorder.New(), began: time.Now(), self: a.self, grace: a.cfg.SeriesGrace,
		hostLinks: map[string]*link.Link{}, byVeth: map[string]*slot{},
		byVMM: map[int]*slot{}, departing: map[*slot]departure{}, boots: map[*slot]struct{}{}, bootPhases: map[path.Phase]*times{}}
	m.hooker.wanted, m.hooker.attached, m.hooker.retired = m.wantsHooks, m.attached, m.retire
	return m
}

// namespaceChanged takes what discover found.
func (m *model) namespaceChanged(c discover.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.departs(c) {
		m.take(c)
	}
}

func (m *model) take(c discover.Change) {
	was := m.slots[c.Cookie()]
	if c.New == nil || c.New.Binding == nil {
		if was != nil {
			m.drop(was, c.Time)
		}
		return
	}
	s := was
	if s == nil {
		s = &slot{entry: c.New}
		m.slots[c.Cookie()] = s
		m.order = nil
		m.tell(s, c.Time, path.SlotAdded, "slot of "+string(c.New.Binding.Source))
	}
	if s.entry.Name != c.New.Name {
		m.order = nil
	}
	old, oldVMM, oldVeth := s.entry.Binding, vmmOf(s.entry), s.entry.Binding.HostVeth
	if was == nil {
		oldVMM = 0
	}
	m.bindings.Add(1)
	s.entry, s.name, s.addrs = c.New, cmp.Or(c.New.Name, s.name), addrsOf(c.New.Binding)
	s.noteEnding(c.Time)
	m.rebound(s, was == nil, old, c.Time)
	m.boundVMM(s, oldVMM)
	m.boundVeth(s, oldVeth)
	m.findTap(s)
	m.phasesOfBinding(s, c.Time)
	m.diagnose(s, c.Time)
}

// rebound tells of a sandbox that came or went. What the hooks counted for the
// last one must not speak for the next, so they begin anew.
func (m *model) rebound(s *slot, fresh bool, old *discover.Binding, now time.Time) {
	b := s.entry.Binding
	if s.vmmExit == nil {
		s.vmmAlive = path.Unknown
	}
	if b.Idle {
		delete(m.bound, s)
	} else {
		m.bound[s] = struct{}{}
	}
	if !fresh && old.SandboxID == b.SandboxID {
		return
	}
	if !fresh && !old.Idle {
		m.publish(path.Event{Time: now, Kind: path.Unbound, Netns: s.entry.Name, Device: old.Tap,
			SandboxID: old.SandboxID, Name: old.Name, Text: "sandbox gone, the slot is idle or another's"})
		m.bootEnds(s)
		m.unhook(s, m.keep(s, old, now))
		s.diagnosis, s.relay, s.template, s.vmmStopped = path.Diagnosis{}, path.Listener{}, nil, path.Unknown
		s.closer, s.held, s.macWas, s.health, s.api = nil, nil, "", path.Health{}, nil
		s.through = path.Health{}
		if s.seen != nil { // what was seen of the last one is not news
			s.seen = &traffic{all: s.seen.all}
		}
	}
	if !b.Idle {
		if s.hooks != nil {
			s.hooks.read = false // an idle slot's reading may be old
		}
		m.tell(s, now, path.Bound, "sandbox bound to the slot")
		m.newlyBound(s)
		m.bootBegins(s)
	}
}

// drop forgets a slot whose namespace has gone or is nobody's any more. Its state
// goes at once, and the sandbox's last one is told by events; counters are kept
// for a while.
func (m *model) drop(s *slot, now time.Time) {
	m.bindings.Add(1)
	m.tell(s, now, path.SlotRemoved, "the slot is gone")
	delete(m.departing, s)
	m.bootEnds(s)
	if pid := vmmOf(s.entry); m.byVMM[pid] == s {
		delete(m.byVMM, pid)
	}
	m.unhook(s, m.keep(s, s.entry.Binding, now))
	delete(m.slots, s.entry.Cookie)
	delete(m.bound, s)
	if m.byVeth[s.entry.Binding.HostVeth] == s {
		delete(m.byVeth, s.entry.Binding.HostVeth)
	}
	m.order = nil
}

// findTap looks the slot's tap up among the links of its namespace.
func (m *model) findTap(s *slot) {
	l, known := m.links.Find(s.entry.Cookie, s.entry.Binding.Tap)
	s.links = s.links || known
	if s.links {
		m.setTap(s, l, time.Time{})
	}
}

// setTap takes the tap's new state; since is when it was seen to change, zero
// where it is as it was found.
func (m *model) setTap(s *slot, l *link.Link, since time.Time) {
	s.links = true
	s.changed()
	if s.tap == nil || l == nil || s.tap.Carrier != l.Carrier {
		s.carrierSince = since
		s.holders = nil // until they are read again
		if s.vmmExit == nil {
			s.vmmAlive = path.Unknown
		}
	}
	if s.tap == nil || l == nil || l.Ifindex != s.tap.Ifindex {
		m.bindings.Add(1)
	}
	if s.tap != nil && (l == nil || l.Ifindex != s.tap.Ifindex) {
		m.unhook(s, m.keep(s, s.entry.Binding, since))
	}
	s.macWas = macBefore(s, l)
	s.tap = l
	if l != nil {
		m.tapCame(s, since)
	}
	m.attach(s)
}

// macBefore returns the hardware address that the guest has learned, where the tap
// now has another.
func macBefore(s *slot, now *link.Link) string {
	if s.tap == nil || now == nil || carrierOf(now) != path.Yes || carrierOf(s.tap) != path.Yes {
		return ""
	}
	was := cmp.Or(s.macWas, s.tap.Addr.String())
	if was == now.Addr.String() {
		return ""
	}
	return was
}

// linkChanged takes what link saw. It returns the slot where its holders must be
// read anew, after which the checks run: only then is it clear whether the VMM
// went with the carrier.
func (m *model) linkChanged(c link.Change) *slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Key().Netns == m.self {
		return m.hostLinkChanged(c)
	}
	s := m.slots[c.Key().Netns]
	if s == nil {
		return nil
	}
	s.links = true
	if !isTap(s, c) {
		if m.lookVeth(s) {
			return s
		}
		return nil
	}
	since := c.Time
	if c.Old == nil {
		since = time.Time{}
	}
	if c.New != nil && c.New.Name != s.entry.Binding.Tap { // renamed away
		c.New = nil
	}
	old := s.tap
	m.setTap(s, c.New, since)
	m.tellCarrier(s, old, c)
	return s
}

// isTap says whether a change is about the slot's tap, under its old name or its new.
func isTap(s *slot, c link.Change) bool {
	if s.tap != nil && c.Key().Ifindex == s.tap.Ifindex {
		return true
	}
	return c.New != nil && c.New.Name == s.entry.Binding.Tap
}

// tellCarrier makes an event of a carrier that came or went. Flaps that went by
// without an event of their own are told with it, from the kernel's counters.
func (m *model) tellCarrier(s *slot, old *link.Link, c link.Change) {
	if old == nil {
		return
	}
	if c.New == nil {
		kind := path.CarrierLost
		if old.Carrier == link.Down { // it went before: what took it is not this
			kind = path.TapGone
		}
		m.tell(s, c.Time, kind, "the tap is gone")
		return
	}
	text := s.tap.Name
	if n := c.Downs(); n > 1 {
		text += ", lost several times since the last event"
	}
	switch {
	case old.Carrier != link.Up && c.New.Carrier == link.Up:
		m.tell(s, c.Time, path.CarrierUp, "carrier on "+text)
		m.carrierCame(s, c.Time)
	case old.Carrier != link.Down && c.New.Carrier == link.Down:
		m.tell(s, c.Time, path.CarrierLost, "NO-CARRIER on "+text)
	case c.Downs() > 0:
		m.tell(s, c.Time, path.CarrierLost, "NO-CARRIER for a moment on "+text)
	}
}

// diagnose runs the checks over the slot's facts and tells what changed.
func (m *model) diagnose(s *slot, now time.Time) {
	before := s.diagnosis
	s.elsewhere = m.tapElsewhere(s)
	facts := s.facts(now, m.proxy)
	judged := facts
	if s.hooks != nil && s.hooks.hidings.now() { // what is hidden is no silence
		judged.Traffic = nil
	}
	s.diagnosis = diagnose.Run(judged)
	for i := range s.diagnosis.Findings {
		f := &s.diagnosis.Findings[i]
		f.Since = now
		if n := slices.IndexFunc(before.Findings, func(b path.Finding) bool { return b.Code == f.Code }); n >= 0 {
			f.Since = before.Findings[n].Since
		} else {
			m.tell(s, now, path.Problem, f.Code+" at "+string(f.Hop)+": "+f.Cause)
		}
	}
	for _, f := range before.Findings {
		if !has(s.diagnosis, f.Code) {
			m.tell(s, now, path.Cleared, f.Code+" at "+string(f.Hop))
		}
	}
	s.view, s.stale = &path.Slot{Facts: facts, Diagnosis: s.diagnosis}, false
}

func has(d path.Diagnosis, code string) bool {
	return slices.ContainsFunc(d.Findings, func(f path.Finding) bool { return f.Code == code })
}

func (m *model) tell(s *slot, now time.Time, kind path.EventKind, text string) {
	m.publish(s.event(now, kind, text))
}

func (s *slot) event(now time.Time, kind path.EventKind, text string) path.Event {
	b := s.entry.Binding
	return path.Event{Time: now, Kind: kind, Netns: s.entry.Name, Device: b.Tap,
		SandboxID: b.SandboxID, Name: b.Name, Text: text}
}

func (m *model) publish(e path.Event) {
	m.events.Publish(e)
	m.recorder.Note(e)
	m.log.Debug("event", "kind", e.Kind, "netns", e.Netns, "sandbox", e.SandboxID, "text", e.Text)
}

const (
	// turn is for how long slots are worked on before others get at the model: a
	// carrier that goes waits no longer.
	turn = 500 * time.Microsecond
	// few is how many of them are worked on between two looks at the clock.
	few = 8
	// chunk is how many counters are taken in at a time: a fraction of that.
	chunk = 64
)

// each runs fn under the lock for every slot that there is now and still is when
// its turn comes, and lets others at the model in between.
func (m *model) each(fn func(*slot)) {
	m.mu.Lock()
	all := slices.Collect(maps.Values(m.slots))
	m.mu.Unlock()
	m.eachOf(all, fn)
}

// eachBound is each for the slots that have a sandbox.
func (m *model) eachBound(fn func(*slot)) {
	m.mu.Lock()
	bound := slices.Collect(maps.Keys(m.bound))
	m.mu.Unlock()
	m.eachOf(bound, fn)
}

// eachOf is each for some slots.
func (m *model) eachOf(all []*slot, fn func(*slot)) {
	for len(all) > 0 {
		m.mu.Lock()
		for began := time.Now(); len(all) > 0 && time.Since(began) < turn; {
			for n := 0; n < few && len(all) > 0; n++ {
				if s := all[0]; m.slots[s.entry.Cookie] == s {
					fn(s)
				}
				all = all[1:]
			}
		}
		m.mu.Unlock()
		runtime.Gosched() // whoever waits comes next
	}
}

func (m *model) get(c netns.Cookie) *slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.slots[c]
}
