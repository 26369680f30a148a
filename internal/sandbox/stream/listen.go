package stream

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// ListenConfig says where to listen and what becomes of connections: either To
// or Handler is set.
type ListenConfig struct {
	Netns    string         // name or path; "" is the process's own
	Addr     netip.AddrPort // port 0 takes a free one
	FreeBind bool           // also an address that is not there (yet)
	To       *Target
	Handler  Handler
	// FD, where it is above 0, is a listening socket made elsewhere, which is taken
	// over; Netns, Addr and FreeBind only describe it then.
	FD int
}

// Listener accepts connections, on every loop.
type Listener struct {
	engine  *Engine
	cfg     ListenConfig
	target  *Target
	handler Handler
	fd      int32
	addr    netip.AddrPort
	index   int32 // in the loops' listeners
	stopped atomic.Bool

	crowded []crowd // by loop

	accepted, errors atomic.Int64
}

// crowd is what a loop remembers of a listener.
type crowd struct {
	busy bool // its last round found more than one connection
	_    [63]byte
}

// Listen opens a listener. The error wraps netns.ErrNotExist, EADDRINUSE or
// EADDRNOTAVAIL (as syscall.Errno) where that is the cause.
func (e *Engine) Listen(cfg ListenConfig) (*Listener, error) {
	if (cfg.To == nil) == (cfg.Handler == nil) {
		return nil, errors.New("listen: either a target or a handler is needed")
	}
	l := &Listener{engine: e, cfg: cfg, target: cfg.To, handler: cfg.Handler, fd: int32(cfg.FD), crowded: make([]crowd, e.cfg.Loops)}
	if cfg.FD <= 0 {
		if err := l.make(); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", cfg.Addr, err)
		}
	}
	name, err := unix.Getsockname(int(l.fd))
	if err != nil {
		closeFD(l.fd)
		return nil, fmt.Errorf("listen on %s: %w", cfg.Addr, err)
	}
	l.addr = addrOf(name)
	return l, l.start()
}

// Take listens on a socket that was made elsewhere, which stays the caller's to
// close: this engine has a file of its own.
func (e *Engine) Take(f *os.File, cfg ListenConfig) (*Listener, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", f.Name(), err)
	}
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		cfg.FD, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	})
	if err = errors.Join(err, dupErr); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", f.Name(), err)
	}
	if err := unix.SetNonblock(cfg.FD, true); err != nil {
		unix.Close(cfg.FD)
		return nil, fmt.Errorf("listen on %s: %w", f.Name(), err)
	}
	e.tuneListener(int32(cfg.FD))
	return e.Listen(cfg)
}

// make makes the socket inside its namespace, where it stays.
func (l *Listener) make() error {
	if l.cfg.Netns == "" {
		return l.bind()
	}
	return netns.Do(l.cfg.Netns, l.bind)
}

func (l *Listener) bind() error {
	family := unix.AF_INET
	if l.cfg.Addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	l.engine.tuneListener(int32(fd))
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil && l.cfg.FreeBind {
		err = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr(l.cfg.Addr)))
	}
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, backlog))
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	l.fd = int32(fd)
	return nil
}

// backlog is cut to net.core.somaxconn of the namespace.
const backlog = 65535

// start has every loop accept.
func (l *Listener) start() error {
	e := l.engine
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		closeFD(l.fd)
		return ErrClosed
	}
	if n := len(e.unused); n > 0 {
		l.index, e.unused = e.unused[n-1], e.unused[:n-1]
	} else {
		l.index = int32(len(e.listeners))
	}
	e.listeners[l] = struct{}{}
	e.mu.Unlock()
	e.each(func(lp *loop) {
		for int(l.index) >= len(lp.listeners) {
			lp.listeners = append(lp.listeners, nil)
		}
		lp.listeners[l.index] = l
		lp.admit(l)
	})
	return nil
}

// Addr is the address listened on, its port never 0.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Stop stops listening; connections go on. What waits in the backlog is reset
// by the kernel, unless another process has the socket.
func (l *Listener) Stop() {
	if l.stopped.Swap(true) {
		return
	}
	l.engine.each(func(lp *loop) {
		lp.listeners[l.index] = nil
		epollRemove(lp.ep, l.fd)
	})
	e := l.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.listeners, l)
	e.unused = append(e.unused, l.index)
	closeFD(l.fd)
}

// Dup returns another file of the listening socket, for another process to go on
// with. The error is ErrClosed where it was stopped.
func (l *Listener) Dup() (fd int, err error) {
	l.engine.mu.Lock()
	defer l.engine.mu.Unlock()
	if _, ok := l.engine.listeners[l]; !ok {
		return -1, ErrClosed
	}
	return unix.FcntlInt(uintptr(l.fd), unix.F_DUPFD_CLOEXEC, 0)
}

// Close stops listening and cuts the connections that came this way. Closing
// twice is no error.
func (l *Listener) Close() {
	l.Stop()
	l.engine.each(func(lp *loop) { lp.cut(func(c *Conn) bool { return c.listener == l }) })
}

// Accepted is how many connections were accepted, and how often accepting had to
// pause because there was no file descriptor left.
func (l *Listener) Accepted() (connections, pauses int64) {
	return l.accepted.Load(), l.errors.Load()
}

func addrOf(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}
