package agent

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/agent/sockets"
	"tapwatch/internal/netns"
)

// listening is who listens where, as it was read.
type listening struct {
	all []sockets.Found // by namespace
	err error           // of a reading of all; then each namespace is read by itself
}

// listenAll reads the listeners of all namespaces at once.
func (l *listeners) listenAll() (all listening) {
	all.all, all.err = l.iterator.All()
	slices.SortFunc(all.all, func(a, b sockets.Found) int { return cmp.Compare(a.Netns, b.Netns) })
	return all
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

// listeners reads who listens where the proxy and the relays are expected.
type listeners struct {
	slots     *slots.Slots
	iterator  *sockets.Iterator // nil: each namespace is read by itself
	self      netns.Cookie
	proxy     netip.AddrPort
	expected  bool   // somebody means the proxy to be there
	port      uint16 // of envd
	log       *slog.Logger
	wake      *asker
	processes processes         // of the goroutine of run alone, like what follows
	bound     []slots.Target    // room
	reads     []slots.RelayRead // room
}

func newListeners(cfg Config, it *sockets.Iterator, s *slots.Slots, self netns.Cookie, log *slog.Logger) *listeners {
	return &listeners{slots: s, iterator: it, self: self, proxy: cfg.proxy(), expected: cfg.Proxy.IsValid(), port: cfg.ServicePort, log: log.With("part", "listeners"),
		wake: newAsker(noticeDelay, 9, noticeRest)}
}

func (l *listeners) run(ctx context.Context) {
	l.wake.run(ctx, func([]slots.Key) { l.read() })
}

// read reads all listeners.
func (l *listeners) read() {
	all := l.listenAll()
	l.processes.begin(time.Now())
	proxy := l.listener(&all, l.self, "", l.proxy)
	proxy.Expected = l.expected
	l.slots.TakeProxy(proxy)
	l.bound = l.slots.Bound(l.bound)
	l.reads = l.reads[:0]
	for _, t := range l.bound {
		if !t.Addrs.Vpeer.IsValid() || !path.HasRelay(t.Shape) || t.Path == "" || t.Key.Claim != 0 { // there is none, or where it should be is unknown
			continue
		}
		l.reads = append(l.reads, slots.RelayRead{Target: t, Is: l.listener(&all, t.Key.Netns, t.Path, netip.AddrPortFrom(t.Addrs.Vpeer, l.port))})
	}
	for some := range slices.Chunk(l.reads, chunk) {
		l.slots.TakeRelays(some)
	}
	clear(l.bound) // a sandbox that has gone is not kept by them
	clear(l.reads)
}

// listener says whether want is listened on in a namespace.
func (l *listeners) listener(all *listening, c netns.Cookie, nsPath string, want netip.AddrPort) path.Listener {
	is := path.Listener{Addr: want.String()}
	there, err := all.at(c, nsPath, want.Port())
	if err != nil {
		l.log.Debug("read listening sockets", "netns", nsPath, "err", err)
		return is
	}
	accepts, ok := sockets.Accepting(there, want.Addr())
	is.Listening = path.Known(ok)
	switch {
	case ok:
		is.Queue = path.Queue{Waiting: accepts.Waiting, Max: accepts.Most}
		if accepts.Full() {
			is.Queue.FullSince = time.Now()
		}
		is.Process = l.processes.of(accepts.PID, accepts.Waiting > 0) // else it would have taken them
	case len(there) > 0:
		is.Actual = netip.AddrPortFrom(there[0].Addr, want.Port()).String()
	}
	return is
}
