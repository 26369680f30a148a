package stream

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// A listener is asked again at once while it has more, so often that a flood
	// does not keep the loop from its connections.
	acceptBurst = 16
	restTime    = 100 * time.Millisecond // without files, unless one is closed earlier

	complainEvery = 10 * time.Second // of one engine that has no files
)

// admit puts a listener into epoll. One loop is woken for a connection, not all.
func (l *loop) admit(ln *Listener) {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE, Fd: ln.index, Pad: kindListener}
	if errno := epollAdd(l.ep, ln.fd, ev); errno != 0 {
		l.engine.cfg.Log.Error("cannot listen", "listen", ln.addr, "netns", ln.cfg.Netns, "err", errno)
	}
}

// acceptAll takes the connections that wait. It stops early where the last round
// found one only: the call that says there is no more costs as much as one that
// brings a connection.
func (l *loop) acceptAll(ln *Listener) {
	var peer unix.RawSockaddrAny
	for range acceptBurst {
		if most := l.engine.cfg.MaxOpen; most > 0 && l.engine.Open() >= most {
			l.rest(ln, unix.EMFILE) // as where there is no file: it waits in the backlog
			return
		}
		fd, errno := accept(ln.fd, &peer)
		if again(errno) {
			ln.crowded[l.id].busy = false
			return
		}
		if errno != 0 {
			l.rest(ln, errno)
			return
		}
		ln.accepted.Add(1)
		if ln.target != nil && !ln.target.Admit() {
			reset(fd)
			continue
		}
		c := l.newConn(ln, fd)
		c.peer, c.since = peerOf(&peer), l.engine.now()
		l.opened(c)
		if !ln.crowded[l.id].busy {
			ln.crowded[l.id].busy = true
			return
		}
	}
}

// opened begins a connection that was just accepted.
func (l *loop) opened(c *Conn) {
	gen := c.gen
	c.legs[Client].readable = true // a guess: its first bytes often come with it
	if t := c.listener.target; t != nil {
		c.legs[Client].pass, c.legs[Backend].pass = unlimited, unlimited
		if l.dial(c, t); c.gen != gen {
			return
		}
	} else {
		c.ExpectWithin(l.engine.cfg.HeadTimeout)
	}
	c.guess = true
	l.move(c, Client)
	if c.gen != gen {
		return
	}
	c.guess = false
	if c.legs[Backend].fd != noFile {
		l.watch(c, Backend, c.state == stateDialing)
	}
	l.watch(c, Client, false)
}

// rest takes a listener out of epoll while there are no files: connections stay
// in its backlog. It comes back when a file is closed.
func (l *loop) rest(ln *Listener, errno error) {
	ln.errors.Add(1)
	if now := l.engine.now(); now-time.Duration(l.engine.complained.Load()) >= complainEvery {
		l.engine.complained.Store(int64(now))
		l.engine.cfg.Log.Warn("cannot accept connections, paused", "listen", ln.addr, "netns", ln.cfg.Netns, "open", l.engine.Open(), "err", errno)
	}
	epollRemove(l.ep, ln.fd)
	l.resting = append(l.resting, ln)
	l.restUntil = l.now + restTime
}

// wakeResting lets connections and listeners that wait for a file try again.
func (l *loop) wakeResting() {
	if len(l.resting)+len(l.retry) > 0 {
		l.restUntil = 0
	}
}

func (l *loop) endRest() {
	l.restUntil = never
	retry := l.retry
	l.retry = nil
	for _, r := range retry {
		if r.conn.gen == r.gen {
			l.redial(r.conn)
		}
	}
	if len(l.retry) > 0 {
		return // whoever is in comes first
	}
	resting := l.resting
	l.resting = nil
	for _, ln := range resting {
		if l.listeners[ln.index] == ln {
			l.admit(ln)
		}
	}
}

func peerOf(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), swap(a.Port))
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), swap(a.Port))
	}
	return netip.AddrPort{}
}

// swap turns a port from or to the network's order.
func swap(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

const never = time.Duration(math.MaxInt64)
