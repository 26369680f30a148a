package nlsafe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// answerTimeout bounds the wait for one answer: rtnl_lock may be held for
// hundreds of milliseconds by others, seconds mean that no answer comes.
const answerTimeout = 10 * time.Second

// ErrInterrupted is returned by Dump when changes interrupted every attempt.
var ErrInterrupted = errors.New("dump interrupted by changes")

// ErrNoAnswer is returned when none came within ten seconds.
var ErrNoAnswer = errors.New("no netlink answer")

// Conn is a request socket in the namespace of the thread that dialled it. It may be
// used from several goroutines, one request at a time.
type Conn struct {
	mu     sync.Mutex
	fd     int
	seq    uint32
	buf    []byte
	unread bool // the last answer was not read to its end
	stats  Stats
}

// Stats counts since Dial.
type Stats struct {
	Interrupted uint64 // dumps that a change cut (NLM_F_DUMP_INTR), and that were asked again
	Grown       uint64 // answers that did not fit the buffer as it was
}

// Dial opens a request socket of NETLINK_ROUTE in the calling thread's namespace.
func Dial() (*Conn, error) { return open(unix.NETLINK_ROUTE) }

// DialNetfilter opens one of NETLINK_NETFILTER.
func DialNetfilter() (*Conn, error) { return open(unix.NETLINK_NETFILTER) }

func open(protocol int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	c := &Conn{fd: fd, buf: make([]byte, 32<<10)}
	if err := c.configure(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return c, nil
}

func (c *Conn) configure() error {
	// Strict checking makes the kernel apply a dump's filters and refuse those
	// that it does not know, where it would otherwise answer with everything.
	if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
		return fmt.Errorf("strict checking: %w", err)
	}
	tv := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return fmt.Errorf("receive timeout: %w", err)
	}
	return unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// Close ends the socket. Requests after it fail.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil
	}
	err := unix.Close(c.fd)
	c.fd = -1
	return err
}

// Stats returns the counts so far.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Do sends a request that is answered by an acknowledgement alone.
func (c *Conn) Do(typ, flags uint16, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.ask(typ, flags|unix.NLM_F_ACK, body)
	return err
}

// Get sends a request that is answered by one message and returns its body.
func (c *Conn) Get(typ uint16, body []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The acknowledgement behind the answer tells a short answer from a missing one.
	ms, err := c.ask(typ, unix.NLM_F_ACK, body)
	if err != nil {
		return nil, err
	}
	if len(ms) != 1 {
		return nil, fmt.Errorf("%w: %d answers to a request for one", ErrMalformed, len(ms))
	}
	return ms[0].Body, nil
}

// send writes one request and returns its sequence number.
func (c *Conn) send(typ, flags uint16, body []byte) (uint32, error) {
	c.seq++
	b := make([]byte, 0, unix.SizeofNlMsghdr+len(body))
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, c.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, body...)
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("send netlink request: %w", err)
	}
	return c.seq, nil
}

// receive reads one datagram, whole: its size is asked for first, because a
// part of a dump that did not fit could only be had by a new dump, and the
// kernel refuses one while the old is not read to its end.
func (c *Conn) receive() ([]byte, error) {
	n, err := c.recvfrom(nil, unix.MSG_PEEK|unix.MSG_TRUNC)
	if err != nil {
		return nil, err
	}
	if n > len(c.buf) {
		c.buf = make([]byte, 2*n)
		c.stats.Grown++
	}
	n, err = c.recvfrom(c.buf, 0)
	return c.buf[:n], err
}

func (c *Conn) recvfrom(b []byte, flags int) (int, error) {
	for {
		n, _, err := unix.Recvfrom(c.fd, b, flags)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, ErrNoAnswer
		case err != nil:
			return 0, fmt.Errorf("receive netlink answer: %w", err)
		}
		return n, nil
	}
}

// settle reads what is left of an answer that was given up, so that the kernel
// takes requests again.
func (c *Conn) settle() {
	for c.unread {
		_, err := c.recvfrom(c.buf, unix.MSG_DONTWAIT)
		c.unread = err == nil || errors.Is(err, unix.ENOBUFS)
	}
}
