package stream

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tcpRTOMax bounds the pauses between retransmissions, in ms (Linux 6.15): else a
// guest that was paused for a minute is tried again after another.
const (
	tcpRTOMax   = 44 // TCP_RTO_MAX_MS, from include/uapi/linux/tcp.h
	rtoMax      = 5 * time.Second
	probeCount  = 4
	lastingFrom = time.Second
)

// tuneListener sets what every accepted socket inherits, so that it costs
// connections nothing.
func (e *Engine) tuneListener(fd int32) {
	noDelay(fd)
	e.tuneLasting(fd)
	e.capLeg(fd)
	e.setCongestion(fd)
}

// tuneDial sets what a leg needs before it connects; the rest follows when the
// connection turns out to need it. A namespace whose own congestion control is
// the right one is asked once: the call costs as much as a read.
func (t *Target) tuneDial(fd int32) {
	const usual, other = 1, 2
	if t.congestion.Load() == 0 {
		own, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		if err == nil && own == t.engine.cfg.Congestion {
			t.congestion.Store(usual)
		} else {
			t.congestion.Store(other)
		}
	}
	if t.congestion.Load() == other {
		t.engine.setCongestion(fd)
	}
}

// tuneLasting sets what ends a leg whose peer has vanished. The options are a
// safety net: a kernel without one, or a leg that is dying, is no error.
func (e *Engine) tuneLasting(fd int32) {
	_ = setInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(e.cfg.KeepAlive))
	_ = setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(e.cfg.KeepAlive))
	_ = setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probeCount)
	_ = setInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(e.cfg.UserTimeout.Milliseconds()))
	_ = setInt(fd, unix.IPPROTO_TCP, tcpRTOMax, int(rtoMax.Milliseconds()))
}

// capLeg bounds what the kernel queues for a leg. It doubles the value, for its
// own bookkeeping.
func (e *Engine) capLeg(fd int32) {
	if e.cfg.Buffer < 0 {
		return
	}
	for _, option := range []struct{ force, plain int }{
		{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF},
	} {
		if setInt(fd, unix.SOL_SOCKET, option.force, e.cfg.Buffer) != 0 { // without CAP_NET_ADMIN the host's limit holds
			_ = setInt(fd, unix.SOL_SOCKET, option.plain, e.cfg.Buffer)
		}
	}
}

// capBuffers bounds the backend's leg once there is much to move; the client's
// inherited it.
func (l *loop) capBuffers(c *Conn) {
	if fd := c.legs[Backend].fd; !c.capped && fd != noFile {
		c.capped = true
		l.engine.capLeg(fd)
	}
}

func noDelay(fd int32) { _ = setInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }

func (e *Engine) setCongestion(fd int32) {
	name := []byte(e.cfg.Congestion)
	_, _, _ = syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION,
		uintptr(unsafe.Pointer(unsafe.SliceData(name))), uintptr(len(name)), 0) // a kernel without it keeps its own
}

func seconds(d time.Duration) int { return max(1, int(d/time.Second)) }
