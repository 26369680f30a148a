// Package conns is what the control API tells of the data path's connections: the
// engine's counts and live table as a document, by sandbox and layer.
package conns

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/sandbox/stream"
)

// Layers of the data path.
const (
	Proxy = "proxy"
	Relay = "relay"
)

// Connection is one that leads through a layer to a sandbox. Its times are those
// that the layer saw, in microseconds; but RTT is the kernel's, of the leg to the
// sandbox.
type Connection struct {
	Client      string    `json:"client"` // of the relay it is the proxy
	Remote      string    `json:"remote"` // where the sandbox is reached
	Opened      time.Time `json:"opened"`
	ConnectUS   *int64    `json:"connect_us"`    // null: not yet
	FirstByteUS *int64    `json:"first_byte_us"` // from the first byte sent; null: not yet
	Sent        int64     `json:"sent_bytes"`    // to the sandbox
	Received    int64     `json:"received_bytes"`
	RTTUS       *int64    `json:"rtt_us"` // null: not known
	Retransmits *int64    `json:"retransmits"`
}

// Stats is what a layer has counted of a sandbox: the proxy since the sandbox was
// first asked for, the relay over the ports that it listens on for it. Connections
// that are open are in the counts.
type Stats struct {
	SandboxID   string           `json:"sandbox_id"`
	Layer       string           `json:"layer"`
	Requests    *int64           `json:"requests_open"` // and other connections; null: the relay knows no requests
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

// Of returns the document of counts and of the rows of the live table that belong
// to them, the oldest first.
func Of(layer, sandboxID string, n stream.Stats, open []stream.Connection) Stats {
	s := Stats{
		SandboxID: sandboxID, Layer: layer, Opened: n.Connect.Count, Sent: n.Bytes[stream.Client], Received: n.Bytes[stream.Backend],
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
	now := time.Now()
	for _, c := range open {
		s.Open = append(s.Open, connectionOf(c, now))
	}
	slices.SortFunc(s.Open, func(a, b Connection) int {
		return cmp.Or(a.Opened.Compare(b.Opened), strings.Compare(a.Client, b.Client))
	})
	return s
}

// Sort orders by sandbox, and of one by layer, from the client inwards.
func Sort(all []Stats) {
	slices.SortStableFunc(all, func(a, b Stats) int {
		return cmp.Or(strings.Compare(a.SandboxID, b.SandboxID), strings.Compare(a.Layer, b.Layer))
	})
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
