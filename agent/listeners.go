package agent

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/agent/sockets"
	"tapwatch/internal/netns"
)

// listening is who listens where, as it was read.
type listening struct {
	all  []sockets.Found // by namespace
	err  error           // of a reading of all; then each namespace is read by itself
	room []sockets.Listener
}

// listenAll reads the listeners of all namespaces at once.
func (l *listeners) listenAll() (all listening) {
	all.all, all.err = l.iterator.All(l.found)
	l.found = all.all
	slices.SortFunc(all.all, func(a, b sockets.Found) int { return cmp.Compare(a.Netns, b.Netns) })
	return all
}

// at returns the sockets that listen at a port, until it is called again. Path is that
// of the namespace, "" for our own.
func (l *listening) at(c netns.Cookie, path string, port uint16) ([]sockets.Listener, error) {
	if l.err != nil {
		return sockets.Listening(path, port)
	}
	l.room = l.room[:0]
	first, _ := slices.BinarySearchFunc(l.all, c, func(a sockets.Found, c netns.Cookie) int { return cmp.Compare(a.Netns, c) })
	for _, a := range l.all[first:] {
		if a.Netns != c {
			break
		}
		if a.Port == port {
			l.room = append(l.room, a.Listener)
		}
	}
	return l.room, nil
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
	done      *collections
	wake      *asker
	took      atomic.Int64      // nanoseconds, by the last reading
	readAt    atomic.Int64      // when that ended, in nanoseconds of the calendar
	processes processes         // of the goroutine of run alone, like what follows
	found     []sockets.Found   // room
	reads     []slots.RelayRead // room
}

func newListeners(cfg Config, it *sockets.Iterator, s *slots.Slots, self netns.Cookie, log *slog.Logger) *listeners {
	return &listeners{slots: s, iterator: it, self: self, proxy: cfg.proxy(), expected: cfg.Proxy.IsValid(), port: cfg.ServicePort, log: log.With("part", "listeners"),
		wake: newAsker(noticeDelay, 9, noticeRest)}
}

func (l *listeners) run(ctx context.Context) {
	l.wake.run(ctx, func([]slots.Key) { l.read() })
}

// rested says whether the last reading is long enough ago, for the time that it took.
func (l *listeners) rested() bool {
	rest := min(listenersShare*time.Duration(l.took.Load()), listenersRarest)
	return time.Since(time.Unix(0, l.readAt.Load())) >= rest
}

// read reads all listeners.
func (l *listeners) read() {
	began := time.Now()
	defer func() {
		l.took.Store(int64(time.Since(began)))
		l.readAt.Store(time.Now().UnixNano())
		l.done.did("listeners", began, nil) // what could not be read of one namespace is unknown there
	}()
	all := l.listenAll()
	l.processes.begin(time.Now())
	proxy := l.listener(&all, l.self, "", l.proxy, l.slots.Proxy().Addr)
	proxy.Expected = l.expected
	l.slots.TakeProxy(proxy)
	l.reads = l.slots.Relays(l.reads)
	for i := range l.reads {
		r := &l.reads[i]
		r.Is = l.listener(&all, r.Netns, r.Path, netip.AddrPortFrom(r.At, l.port), r.Is.Addr)
	}
	for some := range slices.Chunk(l.reads, chunk) {
		l.slots.TakeRelays(some)
	}
	clear(l.reads) // a sandbox that has gone is not kept by them
}

// nowListens says whether an address is listened on now that was not when all were read.
func (l *listeners) nowListens(nsPath string, at netip.AddrPort) bool {
	there, err := sockets.Listening(nsPath, at.Port())
	_, ok := sockets.Accepting(there, at.Addr())
	return err == nil && ok
}

// listener says whether want is listened on in a namespace. Was is the text of the
// address that was wanted the last time: most are the same.
func (l *listeners) listener(all *listening, c netns.Cookie, nsPath string, want netip.AddrPort, was string) path.Listener {
	is := path.Listener{Addr: textOf(want, was)}
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

// textOf is want as text: was, if that is the same.
func textOf(want netip.AddrPort, was string) string {
	var room [64]byte
	if string(want.AppendTo(room[:0])) == was {
		return was
	}
	return want.String()
}
