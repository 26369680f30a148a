package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"tapwatch/bpf"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
)

// LatencyBuckets is the number of buckets in Counters.Latency, the last one
// without an upper bound.
const LatencyBuckets = len(bpf.TapStats{}.Latency)

// LatencyBound returns the upper bound of a bucket but the last: 2^i us.
func LatencyBound(i int) time.Duration { return time.Microsecond << i }

// Counters is what one device counted since Created, also through restarts of
// the agent. Receive is what the guest sent. Times are of CLOCK_MONOTONIC; the
// zero Moment is never.
type Counters struct {
	Created ktime.Moment

	ReceivePackets, TransmitPackets uint64
	ReceiveBytes, TransmitBytes     uint64
	Resets                          [ResetOrigins]uint64 // TCP segments with RST, by ResetOrigin
	ARPRequests, ARPReplies         uint64               // host asks, guest answers
	SYNs, SYNRetransmits            uint64               // towards the guest
	SYNACKs, SYNsRefused            uint64               // from the guest
	SYNsUnanswered                  uint64               // no answer before the first retransmission
	PortsRefused                    uint64               // of SYNsRefused, those of other ports than envd's
	RefusedPort                     uint16               // the last of those ports; 0: none

	Losses      bool   // whether what follows is counted: else it is unknown
	Retransmits uint64 // TCP segments that the namespace's sockets sent again to the guest, SYNs apart
	Drops       Drops  // on the way to the guest

	// Latency is SYN to SYN-ACK, by bucket, not cumulated; LatencySum its sum.
	Latency    [LatencyBuckets]uint64
	LatencySum time.Duration

	FirstReceive, FirstARPReply, FirstEnvdSYNACK ktime.Moment
	LastReceive, LastARPRequest, LastARPReply    ktime.Moment
	LastEnvdSYN, LastEnvdSYNACK, LastEnvdRefused ktime.Moment
	LastPortRefused                              ktime.Moment

	// The guest's own address, as the frames that it sends say: the sender of its
	// last ARP message, else the source of its first IPv4 packet. Not valid: it has
	// sent neither. ARPRequests leaves out requests for other addresses once this
	// is known.
	GuestAddr netip.Addr
	GuestMAC  MAC
	GuestSeen ktime.Moment // when the frame came that they are from
}

// MAC is an Ethernet address. The zero MAC is none.
type MAC [6]byte

// String returns the usual form, 02:fc:00:00:00:05; empty for none.
func (m MAC) String() string {
	if m == (MAC{}) {
		return ""
	}
	return net.HardwareAddr(m[:]).String()
}

// ResetOrigin is who sent a TCP segment with RST.
type ResetOrigin int

// The origins of resets.
const (
	ResetByGuest  ResetOrigin = ResetOrigin(bpf.TapOriginORIGIN_GUEST)     // received from the tap
	ResetByRelay  ResetOrigin = ResetOrigin(bpf.TapOriginORIGIN_RELAY)     // a socket in the namespace
	ResetByKernel ResetOrigin = ResetOrigin(bpf.TapOriginORIGIN_KERNEL)    // for want of a socket
	ResetByOthers ResetOrigin = ResetOrigin(bpf.TapOriginORIGIN_FORWARDED) // from beyond the namespace
)

// ResetOrigins is how many there are.
const ResetOrigins = int(bpf.TapOriginORIGIN_LEN)

// TransmitResets is the resets of all origins but the guest.
func (c *Counters) TransmitResets() uint64 {
	return c.Resets[ResetByRelay] + c.Resets[ResetByKernel] + c.Resets[ResetByOthers]
}

// Counters returns what a device counted. A device that is not attached is
// ErrNotAttached, never zeroes.
func (p *Probe) Counters(d netns.Device) (Counters, error) {
	var perCPU []bpf.TapStats
	err := p.tap.Taps.Lookup(keyOf(d), &perCPU)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return Counters{}, ErrNotAttached
	}
	if err != nil {
		return Counters{}, fmt.Errorf("read counters: %w", err)
	}
	c := sum(perCPU)
	c.Losses = p.losses != nil
	c.Drops, err = p.dropsOf(d)
	return c, err
}

// sum adds the CPUs' counters and takes the earliest of their first times and the
// latest of their last.
func sum(perCPU []bpf.TapStats) Counters {
	var c Counters
	guest := &bpf.TapStats{}
	for i := range perCPU {
		s := &perCPU[i]
		c.Created = max(c.Created, ktime.Moment(s.Created))
		c.ReceivePackets += s.Packets[bpf.TapDirectionRECEIVE]
		c.TransmitPackets += s.Packets[bpf.TapDirectionTRANSMIT]
		c.ReceiveBytes += s.Bytes[bpf.TapDirectionRECEIVE]
		c.TransmitBytes += s.Bytes[bpf.TapDirectionTRANSMIT]
		for o, n := range s.Resets {
			c.Resets[o] += n
		}
		c.ARPRequests += s.ArpRequests
		c.ARPReplies += s.ArpReplies
		c.SYNs += s.Syns
		c.SYNRetransmits += s.SynRetransmits
		c.SYNACKs += s.SynAcks
		c.SYNsRefused += s.SynRefused
		c.SYNsUnanswered += s.SynUnanswered
		c.Retransmits += s.Retransmits
		c.LatencySum += time.Duration(s.LatencyNs)
		for b, n := range s.Latency {
			c.Latency[b] += n
		}
		c.FirstReceive = earlier(c.FirstReceive, ktime.Moment(s.FirstReceive))
		c.FirstARPReply = earlier(c.FirstARPReply, ktime.Moment(s.FirstArpReply))
		c.FirstEnvdSYNACK = earlier(c.FirstEnvdSYNACK, ktime.Moment(s.EnvdFirstSynAck))
		c.LastReceive = max(c.LastReceive, ktime.Moment(s.LastReceive))
		c.LastARPRequest = max(c.LastARPRequest, ktime.Moment(s.LastArpRequest))
		c.LastARPReply = max(c.LastARPReply, ktime.Moment(s.LastArpReply))
		c.LastEnvdSYN = max(c.LastEnvdSYN, ktime.Moment(s.EnvdLastSyn))
		c.LastEnvdSYNACK = max(c.LastEnvdSYNACK, ktime.Moment(s.EnvdLastSynAck))
		c.LastEnvdRefused = max(c.LastEnvdRefused, ktime.Moment(s.EnvdLastRefused))
		c.PortsRefused += s.PortsRefused
		if at := ktime.Moment(s.PortsLastRefused); at > c.LastPortRefused {
			c.LastPortRefused, c.RefusedPort = at, uint16(s.LastRefusedPort)
		}
		guest = betterGuest(guest, s)
	}
	c.setGuest(guest)
	return c
}

// betterGuest returns which of two CPUs knows the guest's address better: ARP is
// better than IPv4, the last ARP message the best, and the first IPv4 packet better
// than later ones.
func betterGuest(a, b *bpf.TapStats) *bpf.TapStats {
	switch {
	case b.GuestAddr == 0:
		return a
	case a.GuestAddr == 0, b.GuestByArp > a.GuestByArp:
		return b
	case b.GuestByArp == a.GuestByArp && (b.GuestSeen > a.GuestSeen) == (b.GuestByArp != 0):
		return b
	}
	return a
}

// setGuest takes the guest's address as one CPU saw it.
func (c *Counters) setGuest(s *bpf.TapStats) {
	if s.GuestAddr == 0 {
		return
	}
	var addr [4]byte
	binary.NativeEndian.PutUint32(addr[:], s.GuestAddr) // as on the wire
	c.GuestAddr, c.GuestMAC, c.GuestSeen = netip.AddrFrom4(addr), s.GuestMac, ktime.Moment(s.GuestSeen)
}

// earlier is the earlier of two Moments, of which 0 is never.
func earlier(a, b ktime.Moment) ktime.Moment {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
