package agent

import (
	"maps"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/ktime"
)

// tally is what the hooks on one tap have counted, and what follows from one reading
// to the next.
type tally struct {
	read   bool // the counters have been
	unread bool // they could not be, the last time
	// some is what was counted; nil: nothing was since created. Most taps of a large host
	// are idle, and their kernel sends them nothing.
	some    *probe.Counters
	created ktime.Moment // when the counters began; 0: they have not been read
	losses  bool         // as probe.Counters has it
	hidings hidings
	// lastDrops is when the count of each reason to drop frames was last seen to have
	// grown.
	lastDrops map[string]time.Time
	// portRefusedSince is since when connections to one port, not envd's, have been
	// refused without a long pause.
	portRefusedSince ktime.Moment
	// The first request that still waits for an answer, as far as reading the
	// counters now and then can tell.
	arpWaiting, envdWaiting ktime.Moment
	// whole is since when both hooks stand: what was asked before may have been
	// answered unseen.
	whole ktime.Moment
}

// refusalPause is the pause between two refusals after which they are two troubles.
const refusalPause = ktime.Moment(10 * time.Second)

// counters is what was counted; the zero value before the first reading.
func (t *tally) counters() probe.Counters {
	if t.some != nil {
		return *t.some
	}
	return probe.Counters{Created: t.created, Losses: t.losses}
}

func (t *tally) setCounters(c *probe.Counters) {
	t.created, t.losses, t.some = c.Created, c.Losses, nil
	if t.counters() != *c {
		some := *c
		t.some = &some
	}
}

// update takes newly read counters and reports whether they say anything new.
func (t *tally) update(c *probe.Counters, now time.Time) bool {
	was := t.counters()
	older := c.Created == was.Created && c.ReceivePackets+c.TransmitPackets < was.ReceivePackets+was.TransmitPackets
	if was == *c || older { // two may read at a time
		return false
	}
	t.noteDrops(&was, c, now)
	if last := was.LastPortRefused; c.LastPortRefused > last && (c.RefusedPort != was.RefusedPort || c.LastPortRefused-last > refusalPause) {
		t.portRefusedSince = c.LastPortRefused
	}
	t.setCounters(c)
	// A guest that announces its address, as it boots, needs not reply: that it takes
	// connections, or refuses them, shows that it was found.
	t.arpWaiting = waiting(t.arpWaiting, c.LastARPRequest, max(c.LastARPReply, c.LastEnvdSYNACK, c.LastEnvdRefused, t.whole))
	t.envdWaiting = waiting(t.envdWaiting, c.LastEnvdSYN, max(c.LastEnvdSYNACK, c.LastEnvdRefused, t.whole))
	return true
}

// waiting keeps the time of the first request after the last answer.
func waiting(first, request, answer ktime.Moment) ktime.Moment {
	switch {
	case request <= answer:
		return 0
	case first > answer:
		return first
	}
	return request
}

// noteDrops keeps which reasons have grown since the last reading. Of what a first
// one finds, also where the counters began anew, nobody knows when it was.
func (t *tally) noteDrops(was, c *probe.Counters, now time.Time) {
	if was.Created != c.Created {
		t.lastDrops = map[string]time.Time{}
		return
	}
	for _, d := range c.Drops {
		if d.Count > was.Drops.Of(d.Reason) {
			t.lastDrops[d.Reason] = now
		}
	}
}

// traffic is what was counted, as facts; nil before the first reading.
func (t *tally) traffic() *path.Traffic {
	c := t.counters()
	if c.Created == 0 {
		return nil
	}
	out := &path.Traffic{
		ReceivePackets:  c.ReceivePackets,
		TransmitPackets: c.TransmitPackets,
		ReceiveBytes:    c.ReceiveBytes,
		TransmitBytes:   c.TransmitBytes,
		Since:           c.Created.Time(),
		ReceiveResets:   c.Resets[probe.ResetByGuest],
		RelayResets:     c.Resets[probe.ResetByRelay],
		KernelResets:    c.Resets[probe.ResetByKernel],
		ForwardedResets: c.Resets[probe.ResetByOthers],
		ARPRequests:     c.ARPRequests,
		ARPReplies:      c.ARPReplies,
		SYNs:            c.SYNs,
		SYNRetransmits:  c.SYNRetransmits,
		SYNACKs:         c.SYNACKs,
		SYNsRefused:     c.SYNsRefused,
		SYNsUnanswered:  c.SYNsUnanswered,
		LastReceive:     c.LastReceive.Time(),
		LastARPRequest:  c.LastARPRequest.Time(),
		LastARPReply:    c.LastARPReply.Time(),
		LastEnvdSYN:     c.LastEnvdSYN.Time(),
		LastEnvdSYNACK:  c.LastEnvdSYNACK.Time(),
		LastEnvdRefused: c.LastEnvdRefused.Time(),
		ARPWaiting:      t.arpWaiting.Time(),
		EnvdWaiting:     t.envdWaiting.Time(),

		PortsRefused: c.PortsRefused, RefusedPort: c.RefusedPort,
		LastPortRefused: c.LastPortRefused.Time(), PortRefusedSince: t.portRefusedSince.Time(),
	}
	if c.GuestAddr.IsValid() {
		out.GuestAddr, out.GuestMAC, out.GuestSeen = c.GuestAddr.String(), c.GuestMAC.String(), c.GuestSeen.Time()
	}
	if c.Losses {
		retransmits := c.Retransmits // the facts may outlive the next reading
		out.Retransmits, out.TransmitDrops = &retransmits, map[string]uint64{}
		out.LastDrops = maps.Clone(t.lastDrops)
		for _, d := range c.Drops {
			if d.Count > 0 {
				out.TransmitDrops[d.Reason] = d.Count
			}
		}
	}
	t.hidings.addTo(out)
	return out
}
