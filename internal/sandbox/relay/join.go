package relay

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	chunk     = 1 << 20          // bytes passed between two looks at a counter
	keepAlive = 15 * time.Second // between probes on an idle leg
	// userTimeout ends a leg whose peer has vanished with data in flight, which
	// keep-alive does not see.
	userTimeout = 30 * time.Second
)

// errReset says that a leg was reset after the end of its stream.
var errReset = errors.New("connection reset")

// join passes all that one leg brings to the other until both directions have
// ended in order, and closes both. Where either breaks, both are reset and the
// error is returned. The counters grow by bytes passed on.
func join(client, backend *net.TCPConn, toGuest, toClient *atomic.Int64) error {
	tune(client)
	tune(backend)
	ends := make(chan error, 4) // each direction reports its end, and a later reset at most
	var directions sync.WaitGroup
	directions.Go(func() { pass(backend, client, toGuest, ends) })
	directions.Go(func() { pass(client, backend, toClient, ends) })
	err := <-ends
	if err == nil {
		err = <-ends
	}
	if err != nil {
		abort(client)
		abort(backend)
	} else {
		client.Close()
		backend.Close()
	}
	directions.Wait()
	return err
}

// pass copies one direction and hands its end on. The other direction may go on
// for long and wait on the other leg only: so this one stays to see a reset.
func pass(dst, src *net.TCPConn, count *atomic.Int64, ends chan<- error) {
	err := copyAll(dst, src, count)
	if err == nil {
		err = dst.CloseWrite()
	}
	ends <- err
	if err == nil && wasReset(src) {
		ends <- errReset
	}
}

// copyAll copies until src ends in order, which is no error.
func copyAll(dst, src *net.TCPConn, count *atomic.Int64) error {
	for {
		part := &io.LimitedReader{R: src, N: chunk}
		n, err := dst.ReadFrom(part) // splices
		count.Add(n)
		if err != nil {
			return err
		}
		if part.N > 0 {
			return nil
		}
	}
}

// wasReset waits on a leg whose stream has ended: true where the peer resets
// it, false where we close it.
func wasReset(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(fd uintptr) bool {
		pending, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		return err != nil || pending != 0
	})
	return !errors.Is(err, net.ErrClosed)
}

// abort closes a leg by a reset.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0) // fails only where the leg is closed
	_ = c.Close()      // likewise
}

// tune sets what ends a leg whose peer is gone without a word. The options are
// a safety net: a leg on which they cannot be set is dying already.
func tune(c *net.TCPConn) {
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: 4})
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
}
