package stream

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// Target is where connections lead: an address inside a namespace. It counts
// what goes there.
type Target struct {
	engine *Engine
	path   string
	ns     *netns.Handle
	addr   netip.AddrPort
	raw    unix.RawSockaddrInet4
	quota  *Quota // nil: no bound

	closed     atomic.Bool
	congestion atomic.Int32 // of sockets in the namespace; see tuneDial
	lastErr    atomic.Pointer[dialError]
	counters   []counters // by loop
	mu         sync.Mutex
	dialErrs   map[syscall.Errno]int64
}

type dialError struct{ err error }

// Target opens a target inside the namespace of that path or name, which "" is
// the process's own. Whether anybody listens there shows at the first connection.
// The error wraps netns.ErrNotExist where that is the cause.
func (e *Engine) Target(path string, addr netip.AddrPort) (*Target, error) {
	if !addr.Addr().Is4() {
		return nil, fmt.Errorf("target %s: must be an IPv4 address", addr)
	}
	ns, err := netns.Open(path)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", addr, err)
	}
	t := &Target{
		engine: e, path: path, ns: ns, addr: addr,
		raw:      unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swap(addr.Port()), Addr: addr.Addr().As4()},
		counters: make([]counters, e.cfg.Loops), dialErrs: make(map[syscall.Errno]int64),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		ns.Close()
		return nil, ErrClosed
	}
	e.targets[t] = struct{}{}
	return t, nil
}

// Limit has the target's connections count against a quota; before there are any. A
// listener that leads to it resets what the quota does not admit; a handler asks.
func (t *Target) Limit(q *Quota) { t.quota = q }

// Admit says whether the quota, if there is one, admits one more connection.
func (t *Target) Admit() bool { return t.quota.Admit() }

// Addr is the address that is dialled.
func (t *Target) Addr() netip.AddrPort { return t.addr }

// LastDialError is why the target could not be reached when it was last tried;
// nil when it could, or was never tried.
func (t *Target) LastDialError() error {
	if e := t.lastErr.Load(); e != nil {
		return e.err
	}
	return nil
}

// Cut resets every connection to the target, as is due when another sandbox gets
// its slot. Others may be made at once.
func (t *Target) Cut() {
	t.engine.each(func(l *loop) { l.cut(func(c *Conn) bool { return c.target == t }) })
}

// Close cuts the target's connections and lets its namespace go; listeners that
// lead to it must have been closed. Closing twice is no error.
func (t *Target) Close() {
	if t.closed.Swap(true) {
		return
	}
	t.engine.each(func(l *loop) {
		l.cut(func(c *Conn) bool { return c.target == t })
		if err := l.thread.Leave(t.ns); err != nil {
			t.engine.cfg.Log.Error("cannot leave a namespace", "netns", t.path, "err", err)
		}
	})
	t.engine.mu.Lock()
	delete(t.engine.targets, t)
	t.engine.mu.Unlock()
	t.ns.Close()
}

// dial begins to connect a connection's second leg, which is not watched yet.
func (l *loop) dial(c *Conn, t *Target) {
	c.target, c.state, c.dialed = t, stateDialing, l.engine.now()
	c.deadline = c.dialed + l.engine.cfg.DialTimeout
	t.counters[l.id].open.Add(1)
	t.quota.count(1)
	l.dialing.push(c)
	l.connect(c)
}

func (l *loop) connect(c *Conn) {
	t := c.target
	if t.closed.Load() {
		l.unreached(c, unix.ENETDOWN)
		return
	}
	if err := l.thread.Enter(t.ns); err != nil {
		l.engine.cfg.Log.Error("cannot enter a namespace", "netns", t.path, "err", err)
		l.unreached(c, unix.ENETDOWN)
		return
	}
	fd, errno := socket()
	if outOfFiles(errno) {
		l.retry = append(l.retry, ready{c, c.gen, Backend}) // its client stays, until the dial's time is over
		l.restUntil = l.now + restTime
		return
	}
	if errno == 0 {
		l.give(&c.legs[Backend], fd)
		t.tuneDial(fd)
		c.cookies[Backend] = 0 // of the one before
		c.Pair()
		errno = connect(fd, &t.raw)
	}
	if errno != 0 && errno != unix.EINPROGRESS {
		l.unreached(c, errno)
		return
	}
	if errno == 0 {
		l.connected(c)
	}
}

// redial tries again to connect what found no file.
func (l *loop) redial(c *Conn) {
	if c.state != stateDialing || c.legs[Backend].fd != noFile {
		return // it was given up, or answered
	}
	gen := c.gen
	l.connect(c)
	if c.gen == gen && c.legs[Backend].fd != noFile {
		l.watch(c, Backend, true)
	}
}

// connected says that the backend has taken the connection.
func (l *loop) connected(c *Conn) {
	l.dialing.remove(c)
	c.state = stateOpen
	c.expectAnew()
	n := &c.target.counters[l.id]
	c.connect = max(1, l.engine.now()-c.dialed)
	n.connect.add(c.connect)
	if c.target.lastErr.Load() != nil {
		c.target.lastErr.Store(nil)
	}
}

// unreached ends a connection whose backend did not take it: the client learns at
// once, by a reset or by what the handler says.
func (l *loop) unreached(c *Conn, errno syscall.Errno) {
	t := c.target
	err := fmt.Errorf("dial %s: %w", t.addr, errno)
	t.lastErr.Store(&dialError{err})
	t.mu.Lock()
	t.dialErrs[errno]++
	t.mu.Unlock()
	l.dialing.remove(c)
	l.lost(c, Backend, fmt.Errorf("%w: %w", ErrUnreached, err), Unreached)
}
