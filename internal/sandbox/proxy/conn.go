package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/sandbox/stream"
)

const (
	keepAlive   = 15 * time.Second // of a silent connection to a sandbox
	keepProbes  = 4
	userTimeout = 30 * time.Second // that data in flight may go without an answer
)

// conn is a connection to a sandbox: counted, and cut when the sandbox goes.
type conn struct {
	*net.TCPConn
	owner   *backend
	opened  time.Time
	connect time.Duration
	cookie  func() uint64

	sent, received atomic.Int64
	asked, answer  atomic.Int64 // when the first byte was sent and received, ns after opened; 0 means not yet
	end            sync.Once
	why            atomic.Int32 // 1 + the stream.Reason by which it is over; 0 means not yet
}

// tune has the kernel end a connection whose sandbox has vanished. The options
// are a safety net: a connection that is dying already is no error.
func tune(c *net.TCPConn) {
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: keepProbes})
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
		})
	}
}

// Read counts what the sandbox sent.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		c.received.Add(int64(n))
		c.first(&c.answer)
	}
	c.met(err)
	return n, err
}

// Write counts what was sent to the sandbox.
func (c *conn) Write(b []byte) (int, error) {
	c.first(&c.asked)
	n, err := c.TCPConn.Write(b)
	c.sent.Add(int64(n))
	c.met(err)
	return n, err
}

// ReadFrom hides TCPConn's, which would pass Write by. Requests come in chunks of
// HTTP, so that the kernel could not move them by itself anyway.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

// WriteTo hides TCPConn's, as ReadFrom.
func (c *conn) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

func (c *conn) first(at *atomic.Int64) {
	if at.Load() == 0 {
		at.CompareAndSwap(0, max(1, int64(time.Since(c.opened))))
	}
}

// met notes by what a connection came to its end; only the first counts.
func (c *conn) met(err error) {
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed): // ours
	case errors.Is(err, syscall.ETIMEDOUT):
		c.because(stream.BackendVanished)
	case errors.Is(err, io.EOF):
		c.because(stream.BackendEnded)
	default:
		c.because(stream.BackendReset)
	}
}

func (c *conn) because(r stream.Reason) { c.why.CompareAndSwap(0, 1+int32(r)) }

// Close ends the connection and gives its counts to the sandbox's.
func (c *conn) Close() error {
	c.because(stream.ClientEnded)
	c.end.Do(func() { c.owner.ended(c) })
	return c.TCPConn.Close()
}

// cut resets the connection, whoever is using it.
func (c *conn) cut() {
	c.because(stream.Cut)
	_ = c.SetLinger(0) // what is queued is for a sandbox that is gone
	_ = c.Close()
}

// kernel reads TCP_INFO; ok is false where the socket is closed already.
func (c *conn) kernel() (rtt time.Duration, retransmits int64, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		rtt, retransmits, ok = time.Duration(info.Rtt)*time.Microsecond, int64(info.Total_retrans), true
	})
	return rtt, retransmits, ok && err == nil
}
