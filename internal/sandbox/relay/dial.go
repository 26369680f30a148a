package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// dialIn connects from inside a namespace. Only making the socket is done
// there: it belongs to the namespace for good, so that the wait for the
// connection ties up no thread.
func dialIn(ctx context.Context, netnsPath string, to netip.AddrPort) (*net.TCPConn, error) {
	var fd int
	err := netns.Do(netnsPath, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", to, err)
	}
	f := os.NewFile(uintptr(fd), to.String())
	defer f.Close()              // FileConn duplicates it
	conn, err := net.FileConn(f) // not yet connected: from here on the runtime's poller waits for it
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", to, err)
	}
	tcp := conn.(*net.TCPConn)
	if err := connect(ctx, tcp, to); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("dial %s: %w", to, err)
	}
	return tcp, nil
}

// connect connects a socket that the poller has already, until ctx ends or
// dialTimeout has passed.
func connect(ctx context.Context, c *net.TCPConn, to netip.AddrPort) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var failed error
	started := false
	err = raw.Write(func(fd uintptr) bool {
		if !started {
			started = true
			failed = unix.Connect(int(fd), &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
			return !errors.Is(failed, unix.EINPROGRESS)
		}
		failed = connected(int(fd))
		return !errors.Is(failed, unix.EINPROGRESS)
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil { // the deadline, or a close
		return err
	}
	if failed != nil {
		return os.NewSyscallError("connect", failed)
	}
	return c.SetWriteDeadline(time.Time{})
}

// connected returns nil, the error that the connection failed by, or
// EINPROGRESS where the poller woke us for nothing.
func connected(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n != 0 {
		return unix.Errno(n)
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return unix.EINPROGRESS
	}
	return nil
}
