package link

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// batch bounds the events that are read before due questions are asked.
const batch = 256

// loop is the only goroutine that changes the state. Events that are there are
// read before anything is asked, so that answers do not overtake them.
func (w *Watcher) loop(ctx context.Context) error {
	w.resync(false)
	nextAudit := w.auditAfter(time.Now())
	for ctx.Err() == nil {
		if more := w.drain(ctx); !more {
			w.meet()
		}
		if w.askAgain(ctx, time.Now()) {
			continue
		}
		if now := time.Now(); !w.listing.running && !nextAudit.IsZero() && now.After(nextAudit) {
			w.resync(true)
		}
		listing := w.listing.running
		if more := w.dumpSome(ctx); more {
			continue
		}
		if listing && !w.listing.running {
			nextAudit = w.auditAfter(time.Now()) // by this one's duration
		}
		if w.arm(ctx, nextAudit) {
			if err := w.sock.Wait(); errors.Is(err, os.ErrClosed) {
				return err
			}
		}
	}
	return nil
}

// auditRarest is the longest time between two audits, however long they take.
const auditRarest = 10 * time.Minute

func (w *Watcher) auditAfter(t time.Time) time.Time {
	if w.cfg.Audit < 0 {
		return time.Time{}
	}
	return t.Add(max(w.cfg.Audit, min(w.cfg.rarely*time.Duration(w.stats.took.Load()), auditRarest)))
}

// arm sets the time to wake up at, and reports whether there is nothing to do
// until then.
func (w *Watcher) arm(ctx context.Context, at time.Time) bool {
	at = earliest(at, w.again.due(), w.retryAt())
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.news) > 0 || len(w.doubted) > 0 || ctx.Err() != nil {
		return false
	}
	w.sock.WakeAt(at)
	return ctx.Err() == nil // the context's own wake-up may just have been undone
}

// earliest returns the first of the times that are not zero.
func earliest(ts ...time.Time) (first time.Time) {
	for _, t := range ts {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// drain reads what is there, and reports whether there may be more.
func (w *Watcher) drain(ctx context.Context) bool {
	for range batch {
		d, err := w.sock.Receive()
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false
		case errors.Is(err, unix.ENOBUFS):
			w.lost("overrun")
		case err != nil:
			w.stats.receiveErrors.Add(1)
			w.lost(err.Error())
			return false
		case d.Truncated:
			w.stats.parseErrors.Add(1)
			w.lost("truncated event")
		default:
			w.events(ctx, d)
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return true
}

// events handles the messages of one datagram.
func (w *Watcher) events(ctx context.Context, d nlsafe.Datagram) {
	now := time.Now()
	id := netns.NSID(d.NSID)
	if d.Own {
		id = w.selfID
	}
	for b := d.Bytes; len(b) > 0; {
		m, rest, err := nlsafe.Next(b)
		if err == nil {
			err = w.event(ctx, m, id, now)
		}
		if err != nil && !errors.Is(err, errPartial) {
			w.stats.parseErrors.Add(1)
			w.cfg.Log.Warn("link event not understood", "err", err)
		}
		b = rest
	}
}

func (w *Watcher) event(ctx context.Context, m nlsafe.Message, id netns.NSID, now time.Time) error {
	w.stats.event(now)
	switch m.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		ns := w.table.known(id)
		if ns == nil {
			return nil
		}
		return w.linkEvent(ctx, m, ns, now)
	case unix.RTM_NEWNSID, unix.RTM_DELNSID:
		if id != w.selfID { // another namespace's view of its neighbours
			return nil
		}
		return w.nsidEvent(ctx, m, now)
	}
	return nil
}

func (w *Watcher) linkEvent(ctx context.Context, m nlsafe.Message, ns *namespace, now time.Time) error {
	if m.Type == unix.RTM_DELLINK {
		l, err := parseHeader(m.Body)
		if err != nil {
			return err
		}
		return w.deliver(ctx, w.table.remove(ns, l.Ifindex, now, false))
	}
	l, err := parseLink(m.Body)
	if err != nil {
		return err
	}
	return w.newLink(ctx, ns, l, now)
}

// newLink takes an event's state, and asks again soon where it says no carrier:
// when a tap's holder is replaced within the second in which the kernel holds
// back what it announces, the last event still says so.
func (w *Watcher) newLink(ctx context.Context, ns *namespace, l Link, now time.Time) error {
	if ns.nsid != w.selfID {
		l.PeerNSID = peerNSID(&l, w.table.get(netns.Device{Netns: ns.cookie, Ifindex: l.Ifindex}))
	}
	if l.Carrier == Down || l.PeerNSID == UnknownNSID {
		w.again.add(linkID{ns.nsid, l.Ifindex}, now)
	}
	return w.deliver(ctx, w.table.put(ns, l, now, false))
}

// peerNSID returns our number for the namespace of the peer of l, the state that
// an event of another namespace tells. Events number the peer's namespace as the
// link's own sees it, answers as we do: an answer's number is kept. A peer that no
// answer has told yet is unknown, which makes newLink ask.
func peerNSID(l, old *Link) netns.NSID {
	switch {
	case l.PeerNSID == netns.NoNSID: // the same namespace, however it is numbered
		return netns.NoNSID
	case old != nil && old.Peer == l.Peer && old.PeerNSID != netns.NoNSID:
		return old.PeerNSID
	}
	return UnknownNSID
}

func (w *Watcher) nsidEvent(ctx context.Context, m nlsafe.Message, now time.Time) error {
	id, err := netns.ParseNSID(m.Body)
	if err != nil {
		return err
	}
	if ns := w.table.known(id); ns != nil && m.Type == unix.RTM_DELNSID {
		return w.deliver(ctx, w.table.drop(ns, now, false))
	}
	if m.Type == unix.RTM_NEWNSID {
		w.dumps.add(id)
	}
	return nil
}

// meet takes up the nsids that AddNamespace has named. It runs when the socket
// is empty: an old namespace's end is then known before its number's next owner.
func (w *Watcher) meet() {
	w.mu.Lock()
	news, doubted := w.news, w.doubted
	w.news, w.doubted = nil, nil
	w.mu.Unlock()
	now := time.Now()
	for _, d := range doubted {
		if ns := w.table.of(d.Netns); ns != nil {
			w.again.add(linkID{ns.nsid, d.Ifindex}, now)
		}
	}
	for _, id := range news {
		if ns := w.table.known(id); ns == nil || !w.owns(id, ns.cookie) {
			w.dumps.add(id)
		}
	}
}

// deliver hands changes to the consumer. The error is always nil; it lets the
// handlers above end with it.
func (w *Watcher) deliver(ctx context.Context, cs []Change) error {
	for _, c := range cs {
		select {
		case w.changes <- c:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
