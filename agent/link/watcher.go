package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// Config says how to watch; its zero value watches the agent's own namespace.
type Config struct {
	// Resolve returns whose an nsid is now, or false where that is not known; it
	// is asked whenever an nsid is met, and again after AddNamespace. It must
	// check with the kernel, for nsids are reused at once, must not block, and
	// must not call the Watcher. Links of namespaces that it does not know are
	// not kept. Nil knows none.
	Resolve func(netns.NSID) (netns.Cookie, bool)
	// Buffer is the socket's receive buffer in bytes; 0 means 8 MiB, enough for
	// the events of some thousand taps that are closed at once.
	Buffer int
	// Backlog is how many changes may wait for their consumer before the reading
	// of events waits as well; 0 means 4096.
	Backlog int
	// Audit is the time between two full dumps that check what the events told;
	// 0 means one minute, below 0 never. It is longer where they are long.
	Audit time.Duration
	// rarely is how many times its own duration an audit waits for the next, but not
	// beyond auditRarest; 0 means 5000.
	rarely time.Duration
	// Log is told of overruns and of failing dumps; nil means slog.Default().
	Log *slog.Logger
}

func (c *Config) fill() error {
	if c.Buffer < 0 || c.Backlog < 0 {
		return errors.New("link watcher: buffer and backlog must not be negative")
	}
	if c.Resolve == nil {
		c.Resolve = func(netns.NSID) (netns.Cookie, bool) { return 0, false }
	}
	if c.Buffer == 0 {
		c.Buffer = 8 << 20
	}
	if c.Backlog == 0 {
		c.Backlog = 4096
	}
	if c.Audit == 0 {
		c.Audit = time.Minute
	}
	if c.rarely == 0 {
		c.rarely = 5000
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

// Watcher keeps the state of all links. Its methods may be called from any
// goroutine.
type Watcher struct {
	cfg     Config
	table   *table
	changes chan Change
	stats   counters

	// Of Run's goroutine alone:
	sock    *nlsafe.Listener
	conn    *nlsafe.Conn
	self    netns.Cookie // the agent's own namespace
	selfID  netns.NSID
	dumps   dumpQueue
	again   recheckQueue
	listing listing

	mu      sync.Mutex // of what follows
	wake    func()     // nil until Run has a socket
	news    []netns.NSID
	doubted []netns.Device // links to be read again
}

// New makes a watcher; nothing is opened before Run.
func New(cfg Config) (*Watcher, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &Watcher{cfg: cfg, table: newTable(), changes: make(chan Change, cfg.Backlog)}, nil
}

// Changes delivers every change once and in order, to one consumer. While that
// does not receive, no more events are read: what the kernel then drops is found
// by a resync. It is closed when Run returns.
func (w *Watcher) Changes() <-chan Change { return w.changes }

// Snapshot returns all links, ordered by namespace and number. The slice is
// shared, and so are the links: read them only. It is made anew only after a change.
func (w *Watcher) Snapshot() []*Link { return w.table.all() }

// In returns the links of one namespace, ordered by number; none where the
// namespace is not known. The links are shared: read them only.
func (w *Watcher) In(c netns.Cookie) []*Link { return w.table.in(c) }

// Taps returns the taps of one namespace, ordered by number; known is false where
// that namespace's links have not been read. The links are shared: read them only.
func (w *Watcher) Taps(c netns.Cookie) (taps []*Link, known bool) { return w.table.taps(c) }

// Known says whether all links of a namespace have been read at least once.
func (w *Watcher) Known(c netns.Cookie) bool { return w.table.isComplete(c) }

// Peer returns the other end of a veth, the lower device of others; nil where
// there is none. Known is false where its namespace is not known, or that
// namespace's links have not been read. The link is shared: read it only.
func (w *Watcher) Peer(l *Link) (peer *Link, known bool) { return w.table.peer(l) }

// Get returns the state of one link. It is shared: read it only.
func (w *Watcher) Get(k netns.Device) (*Link, bool) {
	l := w.table.get(k)
	return l, l != nil
}

// AddNamespace says that Resolve has come to know this nsid: its links are read
// and heard from now on. It does not wait; what is known already is not read again.
func (w *Watcher) AddNamespace(id netns.NSID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news = append(w.news, id)
	if w.wake != nil {
		w.wake()
	}
}

// Recheck has a link read again soon. Of a link that is administratively down the
// kernel reports no change of its carrier (linkwatch_do_dev in net/core/link_watch.c).
// It does not wait.
func (w *Watcher) Recheck(d netns.Device) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doubted = append(w.doubted, d)
	if w.wake != nil {
		w.wake()
	}
}

// Run watches until the context ends, and returns nil then. An error means that
// watching could not start: no privilege, no netlink. Errors after that are
// counted, never the end. It must be called once, in the agent's namespace.
func (w *Watcher) Run(ctx context.Context) error {
	defer close(w.changes)
	if err := w.open(); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	defer w.conn.Close()
	defer w.sock.Close()
	w.live()
	stop := context.AfterFunc(ctx, func() { w.sock.WakeAt(time.Now()) })
	defer stop()
	return w.loop(ctx)
}

// open makes the sockets. The own namespace gets an nsid in itself first: the
// kernel gives it one in any case once a link elsewhere that has its peer here
// is dumped, and from then on marks our own events with it.
func (w *Watcher) open() (err error) {
	if w.conn, err = nlsafe.Dial(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			w.conn.Close()
		}
	}()
	self, err := os.Open(netns.Own)
	if err != nil {
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer self.Close()
	if w.self, err = netns.CookieOfFile(self); err != nil {
		return err
	}
	if w.selfID, err = netns.AssignNSID(w.conn, self); err != nil {
		return err
	}
	w.sock, err = nlsafe.Listen(unix.NETLINK_ROUTE, w.cfg.Buffer, unix.RTNLGRP_LINK, unix.RTNLGRP_NSID)
	return err
}

// live lets AddNamespace and Recheck wake the loop from here on.
func (w *Watcher) live() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake = func() { w.sock.WakeAt(time.Now()) }
}
