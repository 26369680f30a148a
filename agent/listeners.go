package agent

import (
	"net/netip"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/sockets"
	"tapwatch/internal/netns"
)

// listening is who listens where, as it was read.
type listening struct {
	all map[netns.Cookie][]probe.Listener
	err error // of a reading of all; then each namespace is read by itself
	own netns.Cookie
}

// listenAll reads the listeners of all namespaces at once.
func (m *model) listenAll() listening {
	l := listening{all: map[netns.Cookie][]probe.Listener{}}
	if l.own, l.err = netns.Current(); l.err != nil {
		return l
	}
	ls, err := m.probe.Listeners()
	l.err = err
	for _, s := range ls {
		l.all[s.Netns] = append(l.all[s.Netns], s)
	}
	return l
}

// at returns the sockets that listen at a port. Path is that of the namespace, ""
// for our own.
func (l *listening) at(c netns.Cookie, path string, port uint16) ([]sockets.Listener, error) {
	if l.err != nil {
		return sockets.Listening(path, port)
	}
	var all []sockets.Listener
	for _, a := range l.all[c] {
		if a.Addr.Port() == port {
			all = append(all, sockets.Listener{Addr: a.Addr.Addr(), Only6: a.Only6, PID: a.PID, Waiting: a.Waiting, Most: a.Most})
		}
	}
	return all, nil
}

// readListeners reads the listeners of the proxy and of every bound slot's relay,
// and runs the checks where one has changed.
func (m *model) readListeners(proxy netip.AddrPort) {
	l := m.listenAll()
	m.processes.begin(time.Now())
	m.proxyIs(m.listener(&l, l.own, "", proxy))
	type relay struct {
		slot *slot
		in   netns.Cookie
		at   netip.AddrPort
		path string
		is   path.Listener
	}
	var relays []relay
	m.eachBound(func(s *slot) {
		b := s.entry.Binding
		ip, err := netip.ParseAddr(b.VpeerIP)
		if err == nil && path.HasRelay(b.Shape) && s.entry.Path != "" { // else there is none, or where it should be is unknown
			relays = append(relays, relay{slot: s, in: s.entry.Cookie, at: netip.AddrPortFrom(ip, envdPort), path: s.entry.Path})
		}
	})
	for i := range relays {
		r := &relays[i]
		r.is = m.listener(&l, r.in, r.path, r.at)
	}
	for len(relays) > 0 {
		part := relays[:min(chunk, len(relays))]
		relays = relays[len(part):]
		m.mu.Lock()
		for _, r := range part {
			m.relayIs(r.slot, r.is)
		}
		m.mu.Unlock()
	}
}

func (m *model) proxyIs(l path.Listener) {
	m.mu.Lock()
	l.Queue.FullSince = fullSince(l.Queue, m.proxy.Queue)
	same := m.proxy.Judged() == l.Judged()
	m.proxy = l
	m.mu.Unlock()
	switch {
	case !same:
		m.each(func(s *slot) { m.diagnose(s, time.Now()) })
	case !l.Queue.FullSince.IsZero(): // for how long it is matters
		m.eachBound(func(s *slot) { m.diagnose(s, time.Now()) })
	}
}

func (m *model) relayIs(s *slot, l path.Listener) {
	if s.entry.Binding.Idle || m.slots[s.entry.Cookie] != s {
		return
	}
	l.Queue.FullSince = fullSince(l.Queue, s.relay.Queue)
	same := s.relay.Judged() == l.Judged()
	s.relay = l
	if !same || !l.Queue.FullSince.IsZero() { // for how long it is matters
		m.diagnose(s, time.Now())
	}
}

// listener says whether want is listened on in a namespace.
func (m *model) listener(all *listening, c netns.Cookie, nsPath string, want netip.AddrPort) path.Listener {
	l := path.Listener{Addr: want.String()}
	there, err := all.at(c, nsPath, want.Port())
	if err != nil {
		m.log.Debug("read listening sockets", "netns", nsPath, "err", err)
		return l
	}
	accepts, ok := sockets.Accepting(there, want.Addr())
	l.Listening = path.Known(ok)
	switch {
	case ok:
		l.Queue = path.Queue{Waiting: accepts.Waiting, Max: accepts.Most}
		if accepts.Full() {
			l.Queue.FullSince = time.Now()
		}
		l.Process = m.processes.of(accepts.PID, accepts.Full())
	case len(there) > 0:
		l.Actual = netip.AddrPortFrom(there[0].Addr, want.Port()).String()
	}
	return l
}

// fullSince is since when a queue is full that was so before.
func fullSince(now, before path.Queue) time.Time {
	if now.FullSince.IsZero() || before.FullSince.IsZero() {
		return now.FullSince
	}
	return before.FullSince
}
