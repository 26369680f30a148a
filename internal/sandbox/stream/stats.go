package stream

import (
	"math"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// buckets of a Histogram: the i-th counts durations below 2^(i/2) microseconds, the
// last all others, from 24 s on.
const buckets = 51

var bounds = func() (b [buckets]time.Duration) {
	for i := range b {
		b[i] = time.Duration(math.Exp2(float64(i)/2) * float64(time.Microsecond))
	}
	return b
}()

// Histogram of durations.
type Histogram struct {
	Count   int64
	Sum     time.Duration
	Buckets [buckets]int64 // not cumulative; see Bound
}

// Bound is the exclusive upper bound of a bucket; the last has none.
func (Histogram) Bound(i int) time.Duration { return bounds[i] }

type histogram struct {
	sum     atomic.Int64
	buckets [buckets]atomic.Int64
}

func (h *histogram) add(d time.Duration) {
	h.sum.Add(int64(d))
	i := 2 * bits.Len64(uint64(max(0, d/time.Microsecond)))
	if i > 0 && i < buckets && d < bounds[i-1] {
		i--
	}
	h.buckets[min(i, buckets-1)].Add(1)
}

func (h *histogram) into(out *Histogram) {
	out.Sum += time.Duration(h.sum.Load())
	for i := range h.buckets {
		n := h.buckets[i].Load()
		out.Buckets[i] += n
		out.Count += n
	}
}

// counters are one loop's share of a target's.
type counters struct {
	open                      atomic.Int64
	bytes                     [2]atomic.Int64 // by the side that sent them
	ended                     [reasons]atomic.Int64
	connect, firstByte        histogram
	samples, rtt, retransmits [2]atomic.Int64 // by side; rtt in us

	party party // of the loop
}

// Stats is what a target has counted since it was opened. Each count is exact,
// together they are of slightly different moments.
type Stats struct {
	Netns string
	To    netip.AddrPort

	Open       int64            // connections, those being dialled among them
	Ended      map[Reason]int64 // connections that are over
	DialErrors map[syscall.Errno]int64
	Bytes      [2]int64  // passed on, by the Side that sent them
	Connect    Histogram // from the dial to the backend's taking it
	FirstByte  Histogram // from the first byte sent to the backend to its first answer
	// What the kernel said at the end of connections: all that lasted a second or
	// moved a MiB, and one in sixteen of the others. By Side.
	Kernel [2]Kernel
}

// Kernel sums TCP_INFO over legs.
type Kernel struct {
	Legs        int64
	RTT         time.Duration // the sum of the smoothed round trips
	Retransmits int64
}

// Stats returns the target's counts.
func (t *Target) Stats() Stats {
	s := Stats{Netns: t.path, To: t.addr, Ended: make(map[Reason]int64), DialErrors: make(map[syscall.Errno]int64)}
	for i := range t.counters {
		n := &t.counters[i]
		s.Open += n.open.Load()
		for r := range n.ended {
			if ended := n.ended[r].Load(); ended > 0 {
				s.Ended[Reason(r)] += ended
			}
		}
		n.connect.into(&s.Connect)
		n.firstByte.into(&s.FirstByte)
		for side := range s.Bytes {
			s.Bytes[side] += n.bytes[side].Load()
			s.Kernel[side].Legs += n.samples[side].Load()
			s.Kernel[side].RTT += time.Duration(n.rtt[side].Load()) * time.Microsecond
			s.Kernel[side].Retransmits += n.retransmits[side].Load()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for errno, n := range t.dialErrs {
		s.DialErrors[errno] = n
	}
	return s
}

// firstBytes times the first answer.
func (l *loop) firstBytes(c *Conn, s Side) {
	now := l.engine.now()
	if s == Client {
		c.sent = now
	} else if c.sent != 0 { // else the backend speaks first
		c.firstByte = now - c.sent
		c.target.counters[l.id].firstByte.add(c.firstByte)
	}
}

// Add sums counts of several targets; of where they lead it says nothing.
func (s *Stats) Add(o Stats) {
	s.Open += o.Open
	if s.Ended == nil {
		s.Ended, s.DialErrors = make(map[Reason]int64), make(map[syscall.Errno]int64)
	}
	for why, n := range o.Ended {
		s.Ended[why] += n
	}
	for errno, n := range o.DialErrors {
		s.DialErrors[errno] += n
	}
	for side := range s.Bytes {
		s.Bytes[side] += o.Bytes[side]
		s.Kernel[side].Legs += o.Kernel[side].Legs
		s.Kernel[side].RTT += o.Kernel[side].RTT
		s.Kernel[side].Retransmits += o.Kernel[side].Retransmits
	}
	s.Connect.add(o.Connect)
	s.FirstByte.add(o.FirstByte)
}

func (h *Histogram) add(o Histogram) {
	h.Count += o.Count
	h.Sum += o.Sum
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
}
