package link

import (
	"sync/atomic"
	"time"

	"tapwatch/internal/nlsafe"
)

// Stats says how well the watch itself does.
type Stats struct {
	// Synced is false at start, and from a loss of events until everything was
	// read again: what is known of carriers is then in doubt.
	Synced        bool
	Events        uint64        // messages received
	Overruns      uint64        // times that the kernel dropped events (ENOBUFS)
	ReceiveErrors uint64        // other errors of the socket
	ParseErrors   uint64        // messages that were not understood or did not fit
	Resyncs       uint64        // full dumps that ended, audits among them
	ResyncTook    time.Duration // the last one's, with the events handled in between
	Resynced      time.Time     // when that ended; zero: none has
	DumpErrors    uint64
	Interrupted   uint64 // dumps that a change cut and that were asked again
	Asked         uint64 // single links asked for after a no-carrier event
	AskErrors     uint64
	// Missed counts the changes that an audit found and no event had told. A few
	// are events that the kernel still held back.
	Missed    uint64
	LastEvent time.Time // zero: none yet
	// OperstateLag is how long operstates contradicted carriers.
	OperstateLag Lag
}

type counters struct {
	synced                                        atomic.Bool
	events, overruns, receiveErrors, parseErrors  atomic.Uint64
	resyncs, dumpErrors, asked, askErrors, missed atomic.Uint64
	interrupted                                   atomic.Uint64
	took, lastEvent, resyncedAt                   atomic.Int64 // ns; Unix ns
}

// Stats returns the counts since the start.
func (w *Watcher) Stats() Stats {
	c := &w.stats
	s := Stats{
		Synced:        c.synced.Load(),
		Events:        c.events.Load(),
		Overruns:      c.overruns.Load(),
		ReceiveErrors: c.receiveErrors.Load(),
		ParseErrors:   c.parseErrors.Load(),
		Resyncs:       c.resyncs.Load(),
		ResyncTook:    time.Duration(c.took.Load()),
		DumpErrors:    c.dumpErrors.Load(),
		Interrupted:   c.interrupted.Load(),
		Asked:         c.asked.Load(),
		AskErrors:     c.askErrors.Load(),
		Missed:        c.missed.Load(),
		OperstateLag:  w.table.operstateLag(),
	}
	if ns := c.lastEvent.Load(); ns != 0 {
		s.LastEvent = time.Unix(0, ns)
	}
	if ns := c.resyncedAt.Load(); ns != 0 {
		s.Resynced = time.Unix(0, ns)
	}
	return s
}

func (c *counters) event(now time.Time) {
	c.events.Add(1)
	c.lastEvent.Store(now.UnixNano())
}

// resynced notes the end of a full dump.
func (c *counters) resynced(took time.Duration, s nlsafe.Stats) {
	c.resyncs.Add(1)
	c.took.Store(int64(took))
	c.resyncedAt.Store(time.Now().UnixNano())
	c.interrupted.Store(s.Interrupted)
}

// found counts what an audit had to put right.
func (c *counters) found(changes int, l listing) {
	if l.running && l.audit && c.synced.Load() {
		c.missed.Add(uint64(changes))
	}
}
