package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// socket hears the link events of every namespace that has an nsid in ours,
// and that namespaces come and go. It takes no thread while it waits.
type socket struct {
	file *os.File
	conn syscall.RawConn
	buf  []byte
	oob  []byte
}

// datagram is one receipt. Own says that the kernel gave no nsid with it, as it
// does for events of the socket's own namespace while that has none in itself.
type datagram struct {
	bytes     []byte
	nsid      netns.NSID
	own       bool
	truncated bool
}

func openSocket(buffer int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open link event socket: %w", err)
	}
	if err := subscribe(fd, buffer); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open link event socket: %w", err)
	}
	s := &socket{
		file: os.NewFile(uintptr(fd), "netlink"),
		buf:  make([]byte, 64<<10),
		oob:  make([]byte, 128),
	}
	if s.conn, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("open link event socket: %w", err)
	}
	return s, nil
}

func subscribe(fd, buffer int) error {
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
	for _, group := range []int{unix.RTNLGRP_LINK, unix.RTNLGRP_NSID} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return fmt.Errorf("join netlink group %d: %w", group, err)
		}
	}
	return nil
}

// wait blocks until something can be received or the deadline has passed.
func (s *socket) wait() error {
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

// receive reads one datagram without waiting; EAGAIN says that there is none,
// ENOBUFS that the kernel had to drop some. The bytes hold until the next call.
func (s *socket) receive() (d datagram, err error) {
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
	d.truncated = flags&unix.MSG_TRUNC != 0
	d.nsid, d.own = sourceOf(s.oob[:oobn])
	if a, ok := from.(*unix.SockaddrNetlink); ok && a.Pid == 0 { // else not from the kernel
		d.bytes = s.buf[:n]
	}
	return d, nil
}

// sourceOf reads the namespace of a datagram from its control messages.
func sourceOf(oob []byte) (id netns.NSID, own bool) {
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netns.NoNSID, true
	}
	for _, m := range cmsgs {
		if m.Header.Level == unix.SOL_NETLINK && m.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(m.Data) >= 4 {
			return netns.NSID(binary.NativeEndian.Uint32(m.Data)), false
		}
	}
	return netns.NoNSID, true
}

// wakeAt makes wait return at that time; zero means when something comes.
func (s *socket) wakeAt(t time.Time) { _ = s.file.SetReadDeadline(t) }

func (s *socket) close() { s.file.Close() }
