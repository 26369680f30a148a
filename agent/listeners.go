package agent

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/sockets"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
)

// listening is who listens where, as it was read.
type listening struct {
	all []sockets.Found // by namespace
	err error           // of a reading of all; then each namespace is read by itself
	own netns.Cookie
}

// listenAll reads the listeners of all namespaces at once.
func (m *model) listenAll() listening {
	l := listening{own: m.self}
	l.all, l.err = m.listens.All()
	slices.SortFunc(l.all, func(a, b sockets.Found) int { return cmp.Compare(a.Netns, b.Netns) })
	return l
}

// at returns the sockets that listen at a port. Path is that of the namespace, ""
// for our own.
func (l *listening) at(c netns.Cookie, path string, port uint16) ([]sockets.Listener, error) {
	if l.err != nil {
		return sockets.Listening(path, port)
	}
	var all []sockets.Listener
	first, _ := slices.BinarySearchFunc(l.all, c, func(a sockets.Found, c netns.Cookie) int { return cmp.Compare(a.Netns, c) })
	for _, a := range l.all[first:] {
		if a.Netns != c {
			break
		}
		if a.Port == port {
			all = append(all, a.Listener)
		}
	}
	return all, nil
}

// relayReading is a relay whose listener is read.
type relayReading struct {
	slot *slot
	in   netns.Cookie
	at   netip.AddrPort
	path string
	is   path.Listener
}

// readListeners reads the listeners of the proxy and of every bound slot's relay,
// and runs the checks where one has changed.
func (m *model) readListeners(proxy netip.AddrPort) {
	l := m.listenAll()
	m.processes.begin(time.Now())
	m.proxyIs(m.listener(&l, l.own, "", proxy))
	clear(m.relays) // a slot that has gone is not kept by them
	relays := m.relays[:0]
	m.eachBound(func(s *slot) {
		if s.addrs.vpeer.IsValid() && path.HasRelay(s.entry.Binding.Shape) && s.entry.Path != "" { // else there is none, or where it should be is unknown
			relays = append(relays, relayReading{slot: s, in: s.entry.Cookie, at: netip.AddrPortFrom(s.addrs.vpeer, e2b.EnvdPort), path: s.entry.Path})
		}
	})
	m.relays = relays
	for i := range relays {
		r := &relays[i]
		r.is = m.listener(&l, r.in, r.path, r.at)
	}
	for len(relays) > 0 {
		part := relays[:min(chunk, len(relays))]
		relays = relays[len(part):]
		m.mu.Lock()
		for i := range part {
			m.relayIs(part[i].slot, &part[i].is)
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

func (m *model) relayIs(s *slot, l *path.Listener) {
	if s.entry.Binding.Idle || m.slots[s.entry.Cookie] != s {
		return
	}
	l.Queue.FullSince = fullSince(l.Queue, s.relay.Queue)
	same := s.relay.Judged() == l.Judged()
	s.relay = *l
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
		l.Process = m.processes.of(accepts.PID, accepts.Waiting > 0) // else it would have taken them
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
