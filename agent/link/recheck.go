package link

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

const (
	// recheckAfter is the time between an event that says no carrier and the
	// question whether it is still so.
	recheckAfter = 2 * time.Millisecond
	// recheckPatience is how long questions wait at most for a storm of such events
	// to end: those who make it hold the kernel's lock of all links, so that each
	// answer would keep the events behind it waiting for a millisecond or more.
	recheckPatience = 100 * time.Millisecond
)

// linkID names a link as netlink does.
type linkID struct {
	nsid  netns.NSID
	index netns.Ifindex
}

// recheckQueue holds the links to ask about, in order of time.
type recheckQueue struct {
	queue  []recheck
	latest map[linkID]time.Time // when each is due; earlier entries are void
	calm   time.Time            // recheckAfter after the last event
}

type recheck struct {
	id linkID
	at time.Time
}

// add puts a link's question off to recheckAfter from now: each event may be
// the one before the state that is asked for.
func (q *recheckQueue) add(id linkID, now time.Time) {
	if q.latest == nil {
		q.latest = map[linkID]time.Time{}
	}
	at := now.Add(recheckAfter)
	q.latest[id], q.calm = at, at
	q.queue = append(q.queue, recheck{id, at})
}

// due returns when the next question is to be asked, in a storm of events after
// it; zero for none.
func (q *recheckQueue) due() time.Time {
	if len(q.queue) == 0 {
		return time.Time{}
	}
	return earliest(q.calm, q.queue[0].at.Add(recheckPatience))
}

// take returns a link whose time has come.
func (q *recheckQueue) take(now time.Time) (linkID, bool) {
	for len(q.queue) > 0 && !q.due().After(now) && !q.queue[0].at.After(now) {
		r := q.queue[0]
		q.queue = q.queue[1:]
		if q.latest[r.id].Equal(r.at) {
			delete(q.latest, r.id)
			return r.id, true
		}
	}
	return linkID{}, false
}

// askAgain asks one question that is due, and reports whether one was. An answer
// may wait for whoever holds the kernel's lock of all links, and in a storm many
// do: events are read between any two.
func (w *Watcher) askAgain(ctx context.Context, now time.Time) bool {
	id, ok := w.again.take(now)
	if !ok {
		return false
	}
	if err := w.ask(ctx, id); err != nil {
		w.stats.askErrors.Add(1)
	}
	return true
}

// ask reads one link. One that has gone, with or without its namespace, is left
// to the event that says so.
func (w *Watcher) ask(ctx context.Context, id linkID) error {
	ns := w.table.known(id.nsid)
	if ns == nil {
		return nil
	}
	body, err := w.conn.Get(unix.RTM_GETLINK, w.linkRequest(id.nsid, id.index))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return err
	}
	l, err := parseLink(body)
	if err != nil {
		return err
	}
	w.stats.asked.Add(1)
	return w.deliver(ctx, w.table.put(ns, l, time.Now(), true))
}

func putIfindex(body []byte, i netns.Ifindex) {
	binary.NativeEndian.PutUint32(body[4:], uint32(i)) // ifi_index
}
