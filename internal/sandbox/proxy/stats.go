package proxy

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/sandbox/stream"
)

// Connection is one that is open between layer 1 and a sandbox. Its times are
// those that layer 1 saw, in microseconds; but RTT is the kernel's.
type Connection struct {
	Local       string    `json:"local"`
	Remote      string    `json:"remote"`
	Opened      time.Time `json:"opened"`
	ConnectUS   int64     `json:"connect_us"`
	FirstByteUS *int64    `json:"first_byte_us"` // from the first byte sent; null: not yet
	Sent        int64     `json:"sent_bytes"`    // to the sandbox
	Received    int64     `json:"received_bytes"`
	RTTUS       *int64    `json:"rtt_us"` // null: not known
	Retransmits *int64    `json:"retransmits"`
}

// Stats is what layer 1 has counted of a sandbox since it was first asked for.
// Connections that are open are in the counts.
type Stats struct {
	SandboxID   string           `json:"sandbox_id"`
	Opened      int64            `json:"opened"`
	Sent        int64            `json:"sent_bytes"`
	Received    int64            `json:"received_bytes"`
	ConnectUS   int64            `json:"connect_us_sum"` // of those opened
	Ended       map[string]int64 `json:"ended"`          // by reason, as package stream names them
	DialErrors  map[string]int64 `json:"dial_errors"`    // by errno, ECONNREFUSED; or "other"
	EndedRTTUS  int64            `json:"ended_rtt_us_sum"`
	EndedKernel int64            `json:"ended_with_tcp_info"` // how many are in EndedRTTUS and Retransmits
	Retransmits int64            `json:"ended_retransmits"`
	Open        []Connection     `json:"open"`
}

// Stats returns what is known of one sandbox, or with "" of every one that was
// asked for lately, by id.
func (p *Proxy) Stats(sandboxID string) []Stats {
	p.backends.mu.Lock()
	var of []*backend
	for id, b := range p.backends.byID {
		if sandboxID == "" || id == sandboxID {
			of = append(of, b)
		}
	}
	p.backends.mu.Unlock()
	all := make([]Stats, 0, len(of))
	for _, b := range of {
		all = append(all, b.stats())
	}
	slices.SortFunc(all, func(a, b Stats) int { return strings.Compare(a.SandboxID, b.SandboxID) })
	return all
}

func (b *backend) stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.counts
	s.SandboxID, s.Ended, s.DialErrors, s.Open = b.id, map[string]int64{}, map[string]int64{}, []Connection{}
	for why, n := range b.reasons {
		s.Ended[why.String()] = n
	}
	for errno, n := range b.dialErrors {
		s.DialErrors[cmp.Or(unix.ErrnoName(errno), "other")] += n
	}
	for c := range b.conns {
		o := c.told()
		s.Sent += o.Sent
		s.Received += o.Received
		s.Open = append(s.Open, o)
	}
	slices.SortFunc(s.Open, func(a, b Connection) int {
		return cmp.Or(a.Opened.Compare(b.Opened), strings.Compare(a.Local, b.Local))
	})
	return s
}

func (c *conn) told() Connection {
	o := Connection{
		Local: c.LocalAddr().String(), Remote: c.RemoteAddr().String(), Opened: c.opened,
		ConnectUS: c.connect.Microseconds(), Sent: c.sent.Load(), Received: c.received.Load(),
	}
	if asked, answer := c.asked.Load(), c.answer.Load(); answer != 0 && asked != 0 {
		us := max(0, answer-asked) / int64(time.Microsecond)
		o.FirstByteUS = &us
	}
	if rtt, retransmits, ok := c.kernel(); ok {
		us := rtt.Microseconds()
		o.RTTUS, o.Retransmits = &us, &retransmits
	}
	return o
}

// failed counts a dial that failed.
func (b *backend) failed(err error) {
	var errno syscall.Errno // 0: a timeout of ours, a client that left, no namespace
	errors.As(err, &errno)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dialErrors[errno]++
	b.reasons[stream.Unreached]++
}

// ended takes a connection's counts over.
func (b *backend) ended(c *conn) {
	rtt, retransmits, ok := c.kernel()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
	b.counts.Sent += c.sent.Load()
	b.counts.Received += c.received.Load()
	b.reasons[stream.Reason(c.why.Load()-1)]++
	if ok {
		b.counts.EndedKernel++
		b.counts.EndedRTTUS += rtt.Microseconds()
		b.counts.Retransmits += retransmits
	}
}
