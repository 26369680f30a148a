package pairing

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Server hands a table out to processes of its own user, and of root.
type Server struct {
	l  *net.UnixListener
	fd int

	mu    sync.Mutex
	conns map[*net.UnixConn]struct{} // nil: closed
}

// Listen takes the socket of a run directory, to hand out the table behind a
// descriptor, which stays the caller's. Run serves, Close ends it.
func Listen(runDir string, fd int) (*Server, error) {
	path := Socket(runDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of an agent that was killed
		return nil, fmt.Errorf("hand out pairing table: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("hand out pairing table: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("hand out pairing table: %w", err), l.Close())
	}
	return &Server{l: l, fd: fd, conns: map[*net.UnixConn]struct{}{}}, nil
}

// Run serves until Close.
func (s *Server) Run() {
	for {
		c, err := s.l.AcceptUnix()
		if err != nil {
			return
		}
		go s.hand(c)
	}
}

// hand sends the descriptor and then holds the connection: its end tells the other
// side that the table is read no more.
func (s *Server) hand(c *net.UnixConn) {
	defer c.Close()
	if !s.hold(c) || !trusted(c) {
		return
	}
	defer s.release(c)
	if _, _, err := c.WriteMsgUnix([]byte{1}, unix.UnixRights(s.fd), nil); err != nil {
		return
	}
	_, _ = c.Read(make([]byte, 1))
}

func (s *Server) hold(c *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) release(c *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// trusted says whether the other side may say what belongs together.
func trusted(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		ok = err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
	})
	return ok && err == nil
}

// Close ends the serving, removes the socket, and tells those who have the table.
func (s *Server) Close() error {
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	if err := s.l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
