package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// slice bounds the namespaces that are dumped before events are read again:
// about 1 ms.
const slice = 64

// skipStats is RTEXT_FILTER_SKIP_STATS of include/uapi/linux/rtnetlink.h.
const skipStats = 1 << 3

// dumpQueue holds the nsids whose links are to be read, each once, in order.
type dumpQueue struct {
	ids    []netns.NSID
	queued map[netns.NSID]bool
	late   map[netns.NSID]int // how often each was put off, until it has been read or given up
}

func (q *dumpQueue) add(id netns.NSID) {
	if q.queued == nil {
		q.queued = map[netns.NSID]bool{}
	}
	if !q.queued[id] {
		q.queued[id] = true
		q.ids = append(q.ids, id)
	}
}

func (q *dumpQueue) take() (netns.NSID, bool) {
	if len(q.ids) == 0 {
		return 0, false
	}
	id := q.ids[0]
	q.ids = q.ids[1:]
	delete(q.queued, id)
	return id, true
}

// putOffMost is how often a namespace is put behind the others whose links change while
// they are read.
const putOffMost = 3

// putOff puts a namespace behind all others: one in which links come and go without end
// must not keep the others unread. It reports false where it has been put off enough.
func (q *dumpQueue) putOff(id netns.NSID) bool {
	if q.late[id] == putOffMost {
		delete(q.late, id)
		return false
	}
	if q.late == nil {
		q.late = map[netns.NSID]int{}
	}
	q.late[id]++
	q.add(id)
	return true
}

// listing is a full resync under way. It is complete when the queue is empty
// and nothing has been lost or failed since it began.
type listing struct {
	running bool
	audit   bool // it checks a state that is believed to be right
	failed  bool // the state stays in doubt: another is due
	refused bool // because the kernel refused a dump
	began   time.Time
	notSoon time.Time // no other one before
}

// lost notes that events are missing. The state is in doubt until a resync that
// began after this has ended.
func (w *Watcher) lost(why string) {
	if why == "overrun" {
		w.stats.overruns.Add(1)
	}
	if w.stats.synced.Swap(false) {
		w.cfg.Log.Warn("link events lost, reading everything again", "why", why)
	}
	w.listing.failed = true
}

// resync queues every namespace that has an nsid, and forgets those that have
// none any more.
func (w *Watcher) resync(audit bool) {
	w.listing = listing{running: true, audit: audit, began: time.Now()}
	w.dumps.add(w.selfID)
	ids, err := netns.ListNSIDs(w.conn)
	if err != nil {
		w.failed(err)
		return
	}
	for _, id := range ids {
		w.dumps.add(id)
	}
	for _, id := range w.table.ids() { // a dump of those that went drops them
		w.dumps.add(id)
	}
}

// dumpSome works off a slice of the queue and reports whether there is more to
// do. An empty queue ends the resync that filled it.
func (w *Watcher) dumpSome(ctx context.Context) bool {
	for range slice {
		id, ok := w.dumps.take()
		if !ok {
			return w.finish()
		}
		err := w.dump(ctx, id)
		if errors.Is(err, nlsafe.ErrInterrupted) && w.dumps.putOff(id) {
			continue
		}
		delete(w.dumps.late, id)
		if err != nil {
			w.failed(err)
		}
	}
	return true
}

// finish ends a resync, and begins the next where events were lost meanwhile.
func (w *Watcher) finish() bool {
	now := time.Now()
	if w.listing.running {
		took := now.Sub(w.listing.began)
		w.listing.running = false
		w.listing.notSoon = now.Add(max(w.pause(), 2*took))
		w.stats.resynced(took, w.conn.Stats())
		if !w.listing.failed {
			w.stats.synced.Store(true)
		}
	}
	if w.listing.failed && now.After(w.listing.notSoon) {
		w.resync(false)
		return true
	}
	return false
}

// pause is the least time between two resyncs: a storm of events, or a namespace
// that cannot be read, must not become a storm of ours.
func (w *Watcher) pause() time.Duration {
	if w.listing.refused {
		return time.Second
	}
	return 20 * time.Millisecond
}

// retryAt returns when a failed resync is to be tried again; zero for never.
func (w *Watcher) retryAt() time.Time {
	if !w.listing.failed {
		return time.Time{}
	}
	return w.listing.notSoon
}

func (w *Watcher) failed(err error) {
	w.listing.failed, w.listing.refused = true, true
	w.stats.dumpErrors.Add(1)
	if w.stats.synced.Swap(false) || w.stats.resyncs.Load() == 0 {
		w.cfg.Log.Warn("links not read", "err", err)
	}
}

// owns reports whether an nsid still is that cookie's.
func (w *Watcher) owns(id netns.NSID, c netns.Cookie) bool {
	now, ok := w.resolve(id)
	return ok && now == c
}

func (w *Watcher) resolve(id netns.NSID) (netns.Cookie, bool) {
	if id == w.selfID {
		return w.self, true
	}
	return w.cfg.Resolve(id)
}

// dump reads the links of one nsid and brings the state in line with them.
func (w *Watcher) dump(ctx context.Context, id netns.NSID) error {
	cookie, ok := w.resolve(id)
	ns := w.table.known(id)
	if ns != nil && (!ok || cookie != ns.cookie) {
		_ = w.deliver(ctx, w.table.drop(ns, time.Now(), true))
		ns = nil
	}
	if !ok {
		return nil
	}
	ms, err := w.conn.Dump(unix.RTM_GETLINK, w.linkRequest(id, 0))
	if errors.Is(err, unix.EINVAL) { // no namespace has this nsid any more
		if ns != nil {
			_ = w.deliver(ctx, w.table.drop(ns, time.Now(), true))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("dump links of nsid %d: %w", id, err)
	}
	if ns == nil {
		if moved := w.table.of(cookie); moved != nil { // its old nsid's end was not heard
			_ = w.deliver(ctx, w.table.drop(moved, time.Now(), true))
		}
		ns = w.table.bind(id, cookie)
		_, err = w.replace(ctx, ns, ms)
		return err
	}
	n, err := w.replace(ctx, ns, ms)
	w.stats.found(n, w.listing)
	return err
}

// replace makes a namespace's links those of a dump, and returns how many
// changes that took.
func (w *Watcher) replace(ctx context.Context, ns *namespace, ms []nlsafe.Message) (int, error) {
	now := time.Now()
	there := map[netns.Ifindex]bool{}
	var cs []Change
	for _, m := range ms {
		l, err := parseLink(m.Body)
		if err != nil {
			return 0, fmt.Errorf("dump links of nsid %d: %w", ns.nsid, err)
		}
		there[l.Ifindex] = true
		cs = append(cs, w.table.put(ns, l, now, true)...)
	}
	for _, i := range w.table.missing(ns, there) {
		cs = append(cs, w.table.remove(ns, i, now, true)...)
	}
	w.table.completed(ns)
	return len(cs), w.deliver(ctx, cs)
}

// linkRequest asks for one link of a namespace, or for all with number 0.
// Statistics are most of a message; they are left out where there may be
// thousands of links, in our own namespace. Elsewhere to ask for that costs more:
// before it dumps anything with a filter, the kernel reckons the size of every
// link of the socket's namespace, 2 ms at ten thousand (rtnl_calcit).
func (w *Watcher) linkRequest(id netns.NSID, i netns.Ifindex) []byte {
	body := make([]byte, unix.SizeofIfInfomsg, 64)
	putIfindex(body, i)
	if id == w.selfID {
		body = nlsafe.AppendUint32(body, unix.IFLA_EXT_MASK, skipStats)
	}
	return nlsafe.AppendUint32(body, unix.IFLA_TARGET_NETNSID, uint32(id))
}
