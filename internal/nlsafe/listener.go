package nlsafe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// noNSID is NETNSA_NSID_NOT_ASSIGNED of include/uapi/linux/net_namespace.h.
const noNSID = -1

// Listener hears the events of every namespace that has an nsid in that of the
// thread which opened it. It takes no thread while it waits. One goroutine may use
// it, but for WakeAt.
type Listener struct {
	file *os.File
	conn syscall.RawConn
	buf  []byte
	oob  []byte
}

// Datagram is one receipt. Own says that the kernel gave no nsid with it, as it
// does for events of the socket's own namespace while that has none in itself.
type Datagram struct {
	Bytes     []byte
	NSID      int32 // -1 where Own is set
	Own       bool
	Truncated bool
}

// Listen joins groups of a netlink protocol. It needs CAP_NET_ADMIN, for a buffer
// of that many bytes, and CAP_NET_BROADCAST.
func Listen(protocol, buffer int, groups ...int) (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink event socket: %w", err)
	}
	if err := subscribe(fd, buffer, groups); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open netlink event socket: %w", err)
	}
	s := &Listener{
		file: os.NewFile(uintptr(fd), "netlink"),
		buf:  make([]byte, 64<<10),
		oob:  make([]byte, 128),
	}
	if s.conn, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("open netlink event socket: %w", err)
	}
	return s, nil
}

func subscribe(fd, buffer int, groups []int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1); err != nil {
		return fmt.Errorf("listen to all namespaces: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); err != nil {
		return fmt.Errorf("set its buffer to %d bytes (needs CAP_NET_ADMIN): %w", buffer, err)
	}
	// Binding sets the first 32 groups anew, so it comes before joining them.
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	for _, group := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return fmt.Errorf("join netlink group %d: %w", group, err)
		}
	}
	return nil
}

// Filter has the kernel keep back what a classic BPF program does not pass. What came
// before is not filtered.
func (s *Listener) Filter(program []unix.SockFilter) error {
	var err error
	cerr := s.conn.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
	if err = errors.Join(cerr, err); err != nil {
		return fmt.Errorf("filter netlink events: %w", err)
	}
	return nil
}

// Wait blocks until something can be received or the deadline has passed.
func (s *Listener) Wait() error {
	ready := false
	err := s.conn.Read(func(fd uintptr) bool {
		ready = ready || readable(int(fd))
		return ready
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return n > 0 && err == nil
}

// Receive reads one datagram without waiting; EAGAIN says that there is none,
// ENOBUFS that the kernel had to drop some. The bytes hold until the next call.
func (s *Listener) Receive() (d Datagram, err error) {
	var n, oobn, flags int
	var from unix.Sockaddr
	cerr := s.conn.Control(func(fd uintptr) {
		for {
			n, oobn, flags, from, err = unix.Recvmsg(int(fd), s.buf, s.oob, unix.MSG_DONTWAIT)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	if err = errors.Join(cerr, err); err != nil {
		return d, err
	}
	d.Truncated = flags&unix.MSG_TRUNC != 0
	d.NSID, d.Own = sourceOf(s.oob[:oobn])
	if a, ok := from.(*unix.SockaddrNetlink); ok && a.Pid == 0 { // else not from the kernel
		d.Bytes = s.buf[:n]
	}
	return d, nil
}

// sourceOf reads the namespace of a datagram from its control messages.
func sourceOf(oob []byte) (id int32, own bool) {
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return noNSID, true
	}
	for _, m := range cmsgs {
		if m.Header.Level == unix.SOL_NETLINK && m.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(m.Data) >= 4 {
			return int32(binary.NativeEndian.Uint32(m.Data)), false
		}
	}
	return noNSID, true
}

// Hear calls fn with every datagram, until the context ends or Close. An error says
// that something was lost, as ENOBUFS does. No other call of Wait, Receive or WakeAt may
// go on meanwhile.
func (s *Listener) Hear(ctx context.Context, fn func(d Datagram, err error)) {
	stop := context.AfterFunc(ctx, func() { s.WakeAt(time.Now()) })
	defer stop()
	for ctx.Err() == nil {
		d, err := s.Receive()
		if errors.Is(err, unix.EAGAIN) {
			if err := s.Wait(); errors.Is(err, os.ErrClosed) {
				return
			}
			continue
		}
		if errors.Is(err, os.ErrClosed) {
			return
		}
		fn(d, err)
	}
}

// WakeAt makes Wait return at that time; zero means when something comes.
func (s *Listener) WakeAt(t time.Time) { _ = s.file.SetReadDeadline(t) }

// Close ends Wait with os.ErrClosed.
func (s *Listener) Close() { s.file.Close() }
