package proxy

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/sandbox/stream"
)

// Connection is one of a client's that leads to a sandbox. Its times are those
// that layer 1 saw, in microseconds; but RTT is the kernel's, of the connection to
// the sandbox.
type Connection struct {
	Client      string    `json:"client"`
	Remote      string    `json:"remote"` // where the sandbox is reached
	Opened      time.Time `json:"opened"`
	ConnectUS   *int64    `json:"connect_us"`    // null: not yet
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
	Requests    int64            `json:"requests_open"` // and other connections
	Opened      int64            `json:"opened"`
	Sent        int64            `json:"sent_bytes"`
	Received    int64            `json:"received_bytes"`
	ConnectUS   int64            `json:"connect_us_sum"` // of those opened
	Ended       map[string]int64 `json:"ended"`          // by reason, as package stream names them
	DialErrors  map[string]int64 `json:"dial_errors"`    // by errno, ECONNREFUSED
	EndedRTTUS  int64            `json:"ended_rtt_us_sum"`
	EndedKernel int64            `json:"ended_with_tcp_info"` // how many are in EndedRTTUS and Retransmits
	Retransmits int64            `json:"ended_retransmits"`
	Open        []Connection     `json:"open"`
}

// Counts returns what was counted of every sandbox that was asked for, by id, and
// the sum of those that have gone.
func (p *Proxy) Counts() (bySandbox map[string]stream.Stats, gone stream.Stats) {
	b := p.backends
	b.mu.Lock()
	defer b.mu.Unlock()
	bySandbox = make(map[string]stream.Stats, len(b.byID))
	for id, to := range b.byID {
		bySandbox[id] = to.counts()
	}
	gone.Add(b.gone)
	return bySandbox, gone
}

// counts sums over the ports of a sandbox; backends.mu is held.
func (b *backend) counts() stream.Stats {
	var sum stream.Stats
	sum.Add(b.former)
	for _, t := range b.targets {
		sum.Add(t.Stats())
	}
	return sum
}

// Stats returns what is known of one sandbox, or with "" of every one that was
// asked for and has not gone, by id.
func (p *Proxy) Stats(sandboxID string) []Stats {
	b := p.backends
	b.mu.Lock()
	all := []Stats{}
	of := make(map[place]int)
	for id, to := range b.byID {
		if sandboxID != "" && id != sandboxID {
			continue
		}
		for at := range to.targets {
			of[at] = len(all)
		}
		all = append(all, statsOf(id, to.counts()))
		all[len(all)-1].Requests = to.open.Load()
	}
	b.mu.Unlock()
	now := time.Now()
	for _, c := range p.engine.Connections(nil) {
		if i, ok := of[place{c.Netns, c.To}]; ok {
			all[i].Open = append(all[i].Open, connectionOf(c, now))
		}
	}
	for i := range all {
		slices.SortFunc(all[i].Open, func(a, b Connection) int {
			return cmp.Or(a.Opened.Compare(b.Opened), strings.Compare(a.Client, b.Client))
		})
	}
	slices.SortFunc(all, func(a, b Stats) int { return strings.Compare(a.SandboxID, b.SandboxID) })
	return all
}

func statsOf(id string, n stream.Stats) Stats {
	s := Stats{
		SandboxID: id, Opened: n.Connect.Count, Sent: n.Bytes[stream.Client], Received: n.Bytes[stream.Backend],
		ConnectUS: n.Connect.Sum.Microseconds(), Ended: map[string]int64{}, DialErrors: map[string]int64{},
		EndedKernel: n.Kernel[stream.Backend].Legs, EndedRTTUS: n.Kernel[stream.Backend].RTT.Microseconds(),
		Retransmits: n.Kernel[stream.Backend].Retransmits, Open: []Connection{},
	}
	for why, count := range n.Ended {
		s.Ended[why.String()] = count
	}
	for errno, count := range n.DialErrors {
		s.DialErrors[cmp.Or(unix.ErrnoName(errno), errno.Error())] += count
	}
	return s
}

func connectionOf(c stream.Connection, now time.Time) Connection {
	o := Connection{
		Client: c.Client.String(), Remote: c.To.String(), Opened: now.Add(-c.Age),
		Sent: c.Bytes[stream.Client], Received: c.Bytes[stream.Backend],
		ConnectUS: micros(c.Connect), FirstByteUS: micros(c.FirstByte),
	}
	if k := c.Kernel[stream.Backend]; k.Legs > 0 {
		rtt := k.RTT.Microseconds()
		o.RTTUS, o.Retransmits = &rtt, &k.Retransmits
	}
	return o
}

// micros is a time in microseconds; 0 is not known.
func micros(d time.Duration) *int64 {
	if d <= 0 {
		return nil
	}
	us := d.Microseconds()
	return &us
}
