package agent

import (
	"errors"
	"net/netip"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/sockets"
	"tapwatch/internal/netns"
)

// What is read from the kernel now and then, because nothing tells it: counters
// of the hooks, holders of the taps, listening sockets.

// attach puts hooks on the slot's tap.
func (m *model) attach(s *slot) {
	d := probe.Device{Netns: s.entry.Cookie, Ifindex: probe.Ifindex(s.tap.Ifindex)}
	err := m.probe.Attach(s.entry.Path, d, s.tap.Name)
	if err == nil {
		s.hooks, s.attachFailed = &hooked{device: d}, false
		return
	}
	m.attachErrors[reason(err)]++
	if errors.Is(err, netns.ErrNotExist) || errors.Is(err, probe.ErrWrongDevice) {
		m.log.Debug("attach hooks", "netns", s.entry.Name, "err", err) // it went meanwhile
		return
	}
	if !s.attachFailed { // it is tried again and again: say it once
		s.attachFailed = true
		m.log.Warn("attach hooks: this tap's traffic is not seen", "netns", s.entry.Name, "err", err)
	}
}

func reason(err error) string {
	switch {
	case errors.Is(err, netns.ErrNotExist):
		return "namespace gone"
	case errors.Is(err, probe.ErrWrongDevice):
		return "device gone"
	case errors.Is(err, probe.ErrIngressQdisc):
		return "ingress qdisc"
	}
	return "other"
}

// detach takes the hooks off and keeps their latencies in the fleet's histogram.
func (m *model) detach(s *slot) {
	if s.hooks == nil {
		return
	}
	if c, err := m.probe.Counters(s.hooks.device); err == nil {
		s.hooks.update(c)
	}
	m.retired.add(&s.hooks.counters)
	if err := m.probe.Detach(s.entry.Path, s.hooks.device); err != nil {
		m.log.Warn("detach hooks", "netns", s.entry.Name, "err", err)
	}
	s.hooks = nil
}

// detachAll is the clean stop.
func (m *model) detachAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.slots {
		m.detach(s)
	}
}

// observe reads the counters and listeners of every bound slot and runs the
// checks again: some problems only time tells.
func (m *model) observe(now time.Time, proxy netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.proxy = listener(m, "", proxy)
	for _, s := range m.slots {
		m.readCounters(s)
		if b := s.entry.Binding; !b.Idle {
			s.relay = m.relayOf(s)
		}
		m.diagnose(s, now)
	}
}

// readCounters reads what the slot's hooks counted. Where there are none it tries
// again to attach: an ingress qdisc may have gone.
func (m *model) readCounters(s *slot) {
	if s.hooks == nil {
		if s.tap != nil {
			m.attach(s)
		}
		return
	}
	c, err := m.probe.Counters(s.hooks.device)
	if err != nil {
		m.log.Warn("read counters: this tap's traffic is not seen", "netns", s.entry.Name, "err", err)
		m.detach(s) // old counts must not pass for new ones
		return
	}
	s.hooks.update(c)
}

func (m *model) relayOf(s *slot) path.Listener {
	ip, err := netip.ParseAddr(s.entry.Binding.VpeerIP)
	if err != nil || s.entry.Path == "" {
		return path.Listener{} // unknown where it should be
	}
	return listener(m, s.entry.Path, netip.AddrPortFrom(ip, envdPort))
}

// listener says whether want is listened on in a namespace.
func listener(m *model, nsPath string, want netip.AddrPort) path.Listener {
	l := path.Listener{Addr: want.String()}
	addrs, err := sockets.Listening(nsPath, want.Port())
	if err != nil {
		m.log.Debug("read listening sockets", "netns", nsPath, "err", err)
		return l
	}
	l.Listening = path.Known(sockets.Accepts(addrs, want.Addr()))
	if l.Listening == path.No && len(addrs) > 0 {
		l.Actual = netip.AddrPortFrom(addrs[0], want.Port()).String()
	}
	return l
}

// pruneAfter is how long all must have been known before what is counted for
// other devices is taken for theirs that went while no agent ran.
const pruneAfter = 30 * time.Second

// prune forgets, once, what an agent before this one counted for devices that
// have gone.
func (m *model) prune(now time.Time, ready bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.pruned:
		return
	case !ready:
		m.readySince = time.Time{}
		return
	case m.readySince.IsZero():
		m.readySince = now
		return
	case now.Sub(m.readySince) < pruneAfter:
		return
	}
	hooked := map[probe.Device]bool{}
	for _, s := range m.slots {
		if s.hooks != nil {
			hooked[s.hooks.device] = true
		}
	}
	m.pruned = true
	if _, err := m.probe.Prune(func(d probe.Device) bool { return hooked[d] }); err != nil {
		m.log.Warn("prune counters", "err", err)
	}
}

// readHolders asks the kernel who holds which tap, for all slots at once.
func (m *model) readHolders(now time.Time) {
	holders, err := m.probe.Holders()
	if err != nil {
		m.log.Debug("read holders", "err", err)
	}
	of := map[probe.Device][]path.Holder{}
	for _, h := range holders {
		of[h.Tap] = append(of[h.Tap], path.Holder{
			PID: h.PID, Command: h.Command, SameNS: h.ProcessNetns == h.Tap.Netns,
		})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.slots {
		if s.tap == nil || err != nil {
			s.holders = nil
			m.diagnose(s, now)
			continue
		}
		s.holders = of[probe.Device{Netns: s.entry.Cookie, Ifindex: probe.Ifindex(s.tap.Ifindex)}]
		if s.holders == nil {
			s.holders = []path.Holder{} // nobody, which is not the same as unknown
		}
		m.diagnose(s, now)
	}
}
