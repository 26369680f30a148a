package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox/stream"
)

// A relay hands its listening sockets to the one that comes after it through a
// unix socket: packets with files, nothing else. A socket says by itself in which
// namespace and at which address it listens, and its backlog goes with it, so
// that no connection is lost in between.

const (
	filesEach = 128 // in a packet; the kernel takes 253
	morePart  = 'm'
	lastPart  = 'l'
	takenOver = 't'
)

// place is where a socket listens.
type place struct {
	netns netns.Cookie
	addr  netip.AddrPort
}

// Inherited are listening sockets that another relay gave. They belong to the
// receiver until Open has taken them.
type Inherited struct {
	conn  *net.UnixConn // to whom they came from; nil: there was nobody
	files map[place]int
}

// Inherit asks the relay that offers its sockets at a path for them. That nobody
// does is no error; nothing is inherited then.
func Inherit(path string) (*Inherited, error) {
	h := &Inherited{files: make(map[place]int)}
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return h, nil
	}
	if err != nil {
		return nil, fmt.Errorf("inherit listening sockets: %w", err)
	}
	h.conn = conn
	for more := true; more; {
		if more, err = h.receive(); err != nil {
			h.Close()
			return nil, fmt.Errorf("inherit listening sockets from %s: %w", path, err)
		}
	}
	return h, nil
}

// receive takes one packet in and says whether there are more.
func (h *Inherited) receive() (more bool, err error) {
	kind, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4*filesEach))
	n, oobn, _, _, err := h.conn.ReadMsgUnix(kind, oob)
	if err != nil {
		return false, err
	}
	if n == 0 {
		return false, errors.New("it ended in the middle")
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return false, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return false, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			at, err := placeOf(fd)
			if err != nil {
				unix.Close(fd)
				return false, err
			}
			h.files[at] = fd
		}
	}
	return kind[0] == morePart, nil
}

// placeOf asks a listening socket where it listens.
func placeOf(fd int) (place, error) {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return place{}, fmt.Errorf("namespace of a socket: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return place{}, fmt.Errorf("address of a socket: %w", err)
	}
	a, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return place{}, errors.New("a socket that is not of IPv4")
	}
	return place{netns.Cookie(cookie), netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))}, nil
}

// Open opens a route with the socket that was inherited for it, or with a new one.
func (h *Inherited) Open(r *Relay, cfg stream.ListenConfig, to netip.AddrPort) (*Route, error) {
	if len(h.files) > 0 {
		cookie, err := netns.CookieOf(cfg.Netns)
		if err != nil {
			return nil, fmt.Errorf("relay %s: %w", cfg.Addr, err)
		}
		at := place{cookie, cfg.Addr}
		if fd, ok := h.files[at]; ok {
			delete(h.files, at)
			cfg.FD = fd
		}
	}
	return r.Open(cfg, to)
}

// Took tells whom the sockets came from that they are in use: it drains then.
func (h *Inherited) Took() error {
	if h.conn == nil {
		return nil
	}
	if _, err := h.conn.Write([]byte{takenOver}); err != nil {
		return fmt.Errorf("tell the relay before: %w", err)
	}
	return nil
}

// Close gives back what was not used.
func (h *Inherited) Close() {
	for _, fd := range h.files {
		unix.Close(fd)
	}
	h.files = nil
	if h.conn != nil {
		h.conn.Close()
	}
}

// Offer gives the listening sockets to whoever asks at a path and is of the same
// user, until ctx ends. The channel is closed when one has taken over; this relay
// should Drain then, and the path belongs to the other.
func (r *Relay) Offer(ctx context.Context, path string) (<-chan struct{}, error) {
	_ = os.Remove(path) // of the one before us, who has handed over or is gone
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("offer listening sockets: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("offer listening sockets: %w", err)
	}
	taken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		defer stop()
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return // closed, and its path removed
			}
			err = r.give(c)
			c.Close()
			if err == nil {
				l.SetUnlinkOnClose(false)
				l.Close()
				close(taken)
				return
			}
			r.engine.Log().Warn("listening sockets were asked for and not taken", "err", err)
		}
	}()
	return taken, nil
}

// give sends all listening sockets and waits until they are in use.
func (r *Relay) give(c *net.UnixConn) error {
	if err := sameUser(c); err != nil {
		return err
	}
	r.mu.Lock()
	listeners := make([]*stream.Listener, 0, len(r.routes))
	for route := range r.routes {
		listeners = append(listeners, route.listener)
	}
	r.mu.Unlock()
	for len(listeners) > 0 {
		n := min(filesEach, len(listeners))
		if err := sendPart(c, morePart, listeners[:n]); err != nil {
			return err
		}
		listeners = listeners[n:]
	}
	if err := sendPart(c, lastPart, nil); err != nil {
		return err
	}
	answer := make([]byte, 1)
	if n, err := c.Read(answer); err != nil || n == 0 || answer[0] != takenOver {
		return fmt.Errorf("the one who asked has gone: %w", err)
	}
	return nil
}

func sendPart(c *net.UnixConn, kind byte, listeners []*stream.Listener) error {
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, l := range listeners {
		fd, err := l.Dup()
		if errors.Is(err, stream.ErrClosed) {
			continue // its route was closed since
		}
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	_, _, err := c.WriteMsgUnix([]byte{kind}, unix.UnixRights(fds...), nil)
	return err
}

func sameUser(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d asked, who is not ours", peer.Uid)
	}
	return nil
}
