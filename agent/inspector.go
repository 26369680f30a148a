package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"

	"tapwatch/agent/discover"
	"tapwatch/agent/filter"
	"tapwatch/agent/inspect"
	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/registry"
)

// inspector looks closely at slots: at those in trouble and those that the kernel
// told of at once, at the others in turn, so that a rule that nobody told of is
// found at last.
type inspector struct {
	model    *model
	log      *slog.Logger
	turn     []*slot   // the bound slots that are still to be looked at in this round
	asked    *asker    // what the kernel told of
	consoles *consoles // nil: they are read in turn only

	egress egress

	looking sync.Mutex // so that no look overtakes an earlier one
	stuck   map[*slot]bool
}

func newInspector(m *model, log *slog.Logger) *inspector {
	return &inspector{model: m, log: log.With("part", "inspector"), asked: newAsker(toldDelay, 9, toldRest), stuck: map[*slot]bool{}}
}

const (
	// inspectEvery is the time between two looks at a slot in trouble.
	inspectEvery = time.Second
	// inspectRarely is how many times lie between two looks where the trouble is older
	// than inspectFresh: what would end it is mostly told.
	inspectRarely = 5
	inspectFresh  = 10 * time.Second
	// turnEvery is how many times lie between two looks at a slot without trouble:
	// what the kernel tells of needs no turn, and a look takes some milliseconds.
	turnEvery = 2
	// inspectMost bounds the looks of one time.
	inspectMost = 32
	// inspectPatience is how long a look may take: a console may lie on a disk that
	// hangs. What was looked for is then unknown.
	inspectPatience = 3 * time.Second
)

func (i *inspector) run(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() {
		i.asked.run(ctx, func(slots []*slot) { i.lookAt(ctx, i.targets(slots)) })
	})
	if i.consoles != nil {
		parts.Go(func() { i.consoles.run(ctx, i) })
	}
	tick := time.NewTicker(inspectEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		i.lookAt(ctx, i.choose(n, time.Now()))
	}
}

func (i *inspector) lookAt(ctx context.Context, targets []target) {
	for _, t := range targets {
		if ctx.Err() != nil {
			return
		}
		i.lookInTime(t, i.look)
	}
}

// lookInTime takes what a look finds. One that does not come back is given up, its
// facts are unknown, and its slot is not looked at until it does.
func (i *inspector) lookInTime(t target, look func(target) closer) {
	i.looking.Lock()
	defer i.looking.Unlock()
	if i.stuck[t.slot] {
		return
	}
	i.model.mu.Lock()
	t.before = t.slot.looked() // a look since may have changed it
	i.model.mu.Unlock()
	c, late := i.patiently(t, look)
	i.model.inspected(t, c)
	if late != nil {
		i.stuck[t.slot] = true
		go func() {
			<-late
			i.looking.Lock()
			defer i.looking.Unlock()
			delete(i.stuck, t.slot)
		}()
	}
}

// patiently waits for a look. Of one that takes too long it returns nothing found,
// and a channel that tells when it has come back.
func (i *inspector) patiently(t target, look func(target) closer) (c closer, late <-chan closer) {
	found := make(chan closer, 1)
	go func() { found <- look(t) }()
	select {
	case c := <-found:
		return c, nil
	case <-time.After(inspectPatience):
		i.log.Warn("a look takes too long: what it is for is unknown", "netns", t.path, "console", t.console)
		return closer{}, found
	}
}

// targets are the slots that still have a sandbox.
func (i *inspector) targets(slots []*slot) (out []target) {
	i.model.mu.Lock()
	defer i.model.mu.Unlock()
	for _, s := range slots {
		if _, ok := i.model.bound[s]; ok {
			out = append(out, targetOf(s))
		}
	}
	return out
}

// target is what a look needs to know of a slot.
type target struct {
	slot         *slot
	path         string
	pid          int
	socket       string // of the VMM's API
	console      string
	shape        registry.Shape
	foreign      bool // another launched it
	waiting      bool // a SYN is, and nothing has come from the guest since
	before       closer
	tap          string
	veth         string // the host's
	vpeer, guest netip.Addr
}

// closer is what a look found.
type closer struct {
	console inspect.Said
	rules   path.Rules
	within  inspect.Close
	vmm     *path.User // nil: unknown
}

// choose returns the slots in trouble that are to be looked at the nth time, and
// sometimes the next other one in turn.
func (i *inspector) choose(n int, now time.Time) []target {
	m := i.model
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []target
	for s := range m.bound {
		due := s.freshlyTroubled(now) || int(s.entry.Cookie%inspectRarely) == n%inspectRarely
		if s.troubled() && due && len(out) < inspectMost {
			out = append(out, targetOf(s))
		}
	}
	if len(i.turn) == 0 {
		for s := range m.bound {
			i.turn = append(i.turn, s)
		}
	}
	if n%turnEvery == 0 && len(i.turn) > 0 {
		s := i.turn[0]
		i.turn = i.turn[1:]
		if _, ok := m.bound[s]; ok && !s.troubled() {
			out = append(out, targetOf(s))
		}
	}
	return out
}

// troubled says whether something is broken, or a request waits.
func (s *slot) troubled() bool {
	return len(s.diagnosis.Findings) > 0 || s.diagnosis.State == path.Booting || s.waits()
}

// freshlyTroubled says whether some of the trouble is so new that it may be
// another thing in a moment.
func (s *slot) freshlyTroubled(now time.Time) bool {
	return len(s.diagnosis.Findings) == 0 || s.diagnosis.State == path.Booting || slices.ContainsFunc(s.diagnosis.Findings, func(f path.Finding) bool {
		return now.Sub(f.Since) < inspectFresh
	})
}

func targetOf(s *slot) target {
	b := s.entry.Binding
	t := target{slot: s, path: s.entry.Path, pid: vmmOf(s.entry), socket: b.APISocket, console: b.Console, shape: b.Shape, before: s.looked(), tap: b.Tap, veth: b.HostVeth}
	if h := s.hooks; h != nil {
		t.waiting = h.envdWaiting != 0 && h.arpWaiting == 0 && h.counters.LastReceive < h.envdWaiting
	}
	t.foreign = b.Source == discover.Firecracker
	at := addrsOf(b)
	t.vpeer, t.guest = at.vpeer, at.guest
	return t
}

func (i *inspector) look(t target) (c closer) {
	var err error
	if t.console != "" {
		if c.console, err = inspect.Console(t.console, t.before.console); err != nil {
			i.log.Debug("read a console", "err", err)
		}
	}
	if t.pid != 0 {
		if c.vmm, err = inspect.UserOf(t.pid); err != nil {
			i.log.Debug("read whose the VMM is", "err", err)
		}
	}
	if t.path == "" {
		return c
	}
	c.within = inspect.Inside(t.path, planOf(t))
	if t.shape == registry.DNAT { // no other needs it
		if c.rules.Forwards, err = inspect.Forwards(t.path); err != nil {
			i.log.Debug("read ip_forward", "netns", t.path, "err", err)
		}
	}
	if t.waiting && t.guest.IsValid() {
		if err := inspect.AskNeighbour(t.path, t.tap, t.guest); err != nil {
			i.log.Debug("ask a guest", "err", err)
		}
	}
	if t.vpeer.IsValid() && t.guest.IsValid() {
		i.readRules(t, &c)
	}
	if t.foreign { // ours promises no way out
		if c.within.Inside.Egress, err = i.egress.of(t); err != nil {
			in := &c.within.Inside
			in.Unread = append(in.Unread, path.Unread{What: "the guest's way out", Because: err.Error()})
		}
	}
	return c
}

func (i *inspector) readRules(t target, c *closer) {
	in := &c.within.Inside
	r, err := filter.ReadRules(t.path, packets(t), translated(t))
	if err != nil {
		in.Unread = append(in.Unread, path.Unread{What: "rules of packet filters", Because: err.Error()})
		return
	}
	c.rules.Drops = r.Drops
	if c.rules.Drops == nil {
		c.rules.Drops = []string{} // none, which is not the same as unknown
	}
	switch r.Translates {
	case path.Yes:
		in.MissingDNAT = path.No
	case path.No:
		in.MissingDNAT = path.Yes
	}
}

// translated is what a dnat path's namespace must give another destination: what
// comes for the sandbox's address in the host, 10.11.0.0/16 + i, or for the vpeer's
// own, 10.12.0.0/16 + 2i+1. Of a foreign path it is not known whether it has to.
func translated(t target) []filter.Packet {
	if t.shape != registry.DNAT && t.shape != "" {
		return nil
	}
	client := netip.AddrPortFrom(t.vpeer.Prev(), 0)
	packet := filter.Packet{What: "what is to be passed on", Hook: *nftables.ChainHookPrerouting, In: e2b.Vpeer, From: client}
	var list []filter.Packet
	for _, to := range []netip.Addr{hostIP(t.vpeer), t.vpeer} {
		packet.To = netip.AddrPortFrom(to, e2b.EnvdPort)
		list = append(list, packet)
	}
	return list
}

// hostIP is the address by which the host knows the sandbox behind a vpeer: E2B's
// 10.11.0.0/16 + i beside 10.12.0.0/16 + 2i+1.
func hostIP(vpeer netip.Addr) netip.Addr {
	v := vpeer.As4()
	i := (uint16(v[2])<<8 | uint16(v[3])) / 2
	return netip.AddrFrom4([4]byte{10, 11, byte(i >> 8), byte(i)})
}

// planOf is what a path of the target's shape needs of its namespace.
func planOf(t target) inspect.Plan {
	p := inspect.Plan{Tap: t.tap, Vpeer: e2b.Vpeer, HostVeth: t.veth, Guest: t.guest, VpeerAddr: t.vpeer,
		Forwards: t.shape == registry.DNAT, Fused: t.shape == registry.Fused}
	if t.vpeer.IsValid() && t.veth != "" {
		p.Client = t.vpeer.Prev() // the host's end of the /31
	}
	return p
}

// packets is what a path of the target's shape sends through its namespace.
func packets(t target) []filter.Packet {
	relay, guest := netip.AddrPortFrom(t.vpeer, e2b.EnvdPort), netip.AddrPortFrom(t.guest, e2b.EnvdPort)
	own := netip.AddrPortFrom(e2b.TapIP(), 0)
	var client netip.AddrPort
	if t.vpeer.IsValid() {
		client = netip.AddrPortFrom(t.vpeer.Prev(), 0) // the host's end of the /31
	}
	switch t.shape {
	case registry.DNAT:
		return []filter.Packet{
			{What: "what is forwarded to the guest", Hook: *nftables.ChainHookForward, In: e2b.Vpeer, Out: t.tap, From: client, To: guest},
			{What: "what the guest answers", Hook: *nftables.ChainHookForward, In: t.tap, Out: e2b.Vpeer, From: guest, To: client, Established: true},
		}
	case registry.Relay, "":
		return []filter.Packet{
			{What: "what layer 1 sends the relay", Hook: *nftables.ChainHookInput, In: e2b.Vpeer, From: client, To: relay},
			{What: "what the relay answers layer 1", Hook: *nftables.ChainHookOutput, Out: e2b.Vpeer, From: relay, To: client, Established: true},
			{What: "what the relay sends the guest", Hook: *nftables.ChainHookOutput, Out: t.tap, From: own, To: guest},
			{What: "what the guest answers", Hook: *nftables.ChainHookInput, In: t.tap, From: guest, To: own, Established: true},
		}
	}
	return []filter.Packet{
		{What: "what layer 1 sends the guest", Hook: *nftables.ChainHookOutput, Out: t.tap, From: own, To: guest},
		{What: "what the guest answers", Hook: *nftables.ChainHookInput, In: t.tap, From: guest, To: own, Established: true},
	}
}

// inspected takes what a look found, and runs the checks where it is new.
func (m *model) inspected(t target, c closer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := t.slot
	if m.slots[s.entry.Cookie] != s || s.entry.Binding.Idle || vmmOf(s.entry) != t.pid {
		return
	}
	before := s.looked()
	s.closer = &c
	if before.same(&c) {
		return
	}
	m.diagnose(s, time.Now())
}

func (c *closer) same(o *closer) bool {
	return reflect.DeepEqual(c.judged(), o.judged())
}

// judged is what checks make something of: a table of connections that is not full
// has another count at every look.
func (c *closer) judged() closer {
	j := *c
	j.console = inspect.Said{Faults: c.console.Faults}
	if t := &j.within.Inside.Conntrack; !t.NearlyFull() {
		t.Count = 0
	}
	return j
}
