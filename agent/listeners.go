package agent

import (
	"net/netip"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/sockets"
	"tapwatch/internal/netns"
)

// listening is who listens where, as it was read.
type listening struct {
	all map[netns.Cookie][]netip.AddrPort
	err error // of a reading of all; then each namespace is read by itself
	own netns.Cookie
}

// listenAll reads the listeners of all namespaces at once.
func (m *model) listenAll() listening {
	l := listening{all: map[netns.Cookie][]netip.AddrPort{}}
	if l.own, l.err = netns.Current(); l.err != nil {
		return l
	}
	ls, err := m.probe.Listeners()
	l.err = err
	for _, s := range ls {
		l.all[s.Netns] = append(l.all[s.Netns], s.Addr)
	}
	return l
}

// at returns the addresses at which a port is listened on. Path is that of the
// namespace, "" for our own.
func (l *listening) at(c netns.Cookie, path string, port uint16) ([]netip.Addr, error) {
	if l.err != nil {
		return sockets.Listening(path, port)
	}
	var addrs []netip.Addr
	for _, a := range l.all[c] {
		if a.Port() == port {
			addrs = append(addrs, a.Addr())
		}
	}
	return addrs, nil
}

// readListeners reads the listeners of the proxy and of every bound slot's relay,
// and runs the checks where one has changed.
func (m *model) readListeners(proxy netip.AddrPort) {
	l := m.listenAll()
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
	same := m.proxy == l
	m.proxy = l
	m.mu.Unlock()
	if !same {
		m.each(func(s *slot) { m.diagnose(s, time.Now()) })
	}
}

func (m *model) relayIs(s *slot, l path.Listener) {
	if s.relay == l || s.entry.Binding.Idle || m.slots[s.entry.Cookie] != s {
		return
	}
	s.relay = l
	m.diagnose(s, time.Now())
}

// listener says whether want is listened on in a namespace.
func (m *model) listener(all *listening, c netns.Cookie, nsPath string, want netip.AddrPort) path.Listener {
	l := path.Listener{Addr: want.String()}
	addrs, err := all.at(c, nsPath, want.Port())
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
