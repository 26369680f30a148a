package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// DialTCP connects from inside the namespace at path (or of that name), until
// ctx ends. Only making the socket is done there: it belongs to the namespace
// for good, so that the wait for the connection ties up no thread. Only IPv4
// addresses can be dialled.
func DialTCP(ctx context.Context, path string, to netip.AddrPort) (*net.TCPConn, error) {
	var fd int
	err := Do(path, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", to, err)
	}
	f := os.NewFile(uintptr(fd), to.String()) // non-blocking: the runtime's poller waits for it
	defer f.Close()                           // FileConn duplicates it
	if err := connect(ctx, f, to); err != nil {
		return nil, fmt.Errorf("dial %s: %w", to, err)
	}
	conn, err := net.FileConn(f) // not before: it remembers both addresses
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", to, err)
	}
	return conn.(*net.TCPConn), nil
}

// connect connects a socket that the poller has already.
func connect(ctx context.Context, f *os.File, to netip.AddrPort) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
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
	if err != nil {
		return err
	}
	return os.NewSyscallError("connect", failed)
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
