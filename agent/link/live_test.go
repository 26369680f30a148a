package link

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/nlsafe"
)

// watch is a running watcher, all that it has told, and the owner of its
// namespaces that discover is in the agent.
type watch struct {
	*Watcher
	t    testing.TB
	conn *nlsafe.Conn

	mu    sync.Mutex
	told  []Change
	names map[netns.NSID]string
}

// start runs a watcher until the test's end. Unread leaves its changes alone.
func start(t testing.TB, cfg Config, unread bool) *watch {
	t.Helper()
	return startIn(t, "/proc/self/ns/net", cfg, unread)
}

// startIn runs a watcher like start, as an agent of the namespace host would.
func startIn(t testing.TB, host string, cfg Config, unread bool) *watch {
	t.Helper()
	nettest.NeedRoot(t)
	w := &watch{t: t, names: map[netns.NSID]string{}}
	cfg.Resolve = w.resolve
	var err error
	if w.Watcher, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	nettest.In(t, host, func() (err error) {
		w.conn, err = nlsafe.Dial()
		return err
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- netns.Do(host, func() error { return w.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		w.conn.Close()
	})
	if !unread {
		go w.listen()
	}
	nettest.Eventually(t, "the watcher in sync", func() bool { return w.Stats().Synced || unread })
	return w
}

func (w *watch) listen() {
	for c := range w.Changes() {
		w.mu.Lock()
		w.told = append(w.told, c)
		w.mu.Unlock()
	}
}

// resolve asks the kernel whose the nsid is at this moment.
func (w *watch) resolve(id netns.NSID) (netns.Cookie, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, err := os.Open(netns.Path(w.names[id]))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	if now, err := netns.NSIDOf(w.conn, f); err != nil || now != id {
		return 0, false
	}
	c, err := netns.CookieOfFile(f)
	return c, err == nil
}

// add makes the watcher follow a namespace and returns its identity.
func (w *watch) add(ns string) netns.Cookie {
	w.t.Helper()
	f, err := os.Open(netns.Path(ns))
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	id, err := netns.AssignNSID(w.conn, f)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := netns.CookieOfFile(f)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.names[id] = ns
	w.mu.Unlock()
	w.AddNamespace(id)
	return c
}

// link returns the state of a link by name; ok is false where there is none.
func (w *watch) link(c netns.Cookie, name string) (Link, bool) {
	if l, _ := byName(w.In(c), name); l != nil {
		return *l, true
	}
	return Link{}, false
}

// byName returns the link of that name, nil where there is none, and whether the
// namespace's links are known: every namespace has lo.
func byName(ls []*Link, name string) (l *Link, known bool) {
	if i := slices.IndexFunc(ls, func(l *Link) bool { return l.Name == name }); i >= 0 {
		l = ls[i]
	}
	return l, len(ls) > 0
}

// until waits for a state of a link.
func (w *watch) until(c netns.Cookie, name, what string, ok func(Link) bool) (l Link) {
	w.t.Helper()
	nettest.Eventually(w.t, name+": "+what, func() bool {
		var there bool
		l, there = w.link(c, name)
		return there && ok(l)
	})
	return l
}

// of returns what was told of a namespace.
func (w *watch) of(c netns.Cookie) (cs []Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, change := range w.told {
		if change.Key().Netns == c {
			cs = append(cs, change)
		}
	}
	return cs
}

// upsTold counts the tap's ups from what was told: those before it was found,
// and those of every change since.
func (w *watch) upsTold(c netns.Cookie) (n uint32) {
	for _, change := range w.of(c) {
		if change.New != nil && change.New.Name == "tap0" {
			if change.Old == nil {
				n = change.New.UpCount
			}
			n += change.Ups()
		}
	}
	return n
}

func isUp(l Link) bool   { return l.Carrier == Up }
func isDown(l Link) bool { return l.Carrier == Down }

func TestTapCarrierFollowsItsHolder(t *testing.T) {
	w := start(t, Config{}, false)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	c := w.add(ns)

	found := w.until(c, "tap0", "found without carrier", isDown)
	if !found.AdminUp || found.Kind != "tun" || !found.Changed.IsZero() || len(found.Addr) != 6 {
		t.Errorf("found %+v", found)
	}
	vmm := nettest.AttachTap(t, ns, "tap0")
	up := w.until(c, "tap0", "carrier after the attach", isUp)
	if up.UpCount != found.UpCount+1 || up.Changed.IsZero() {
		t.Errorf("after the attach %+v, before %+v", up, found)
	}
	vmm.Close()
	down := w.until(c, "tap0", "no carrier after the close", isDown)
	if down.DownCount != up.DownCount+1 || !down.AdminUp {
		t.Errorf("after the close %+v, before %+v", down, up)
	}
	assertChained(t, w.of(c))
}

// assertChained holds each change's Old against the New before it.
func assertChained(t *testing.T, cs []Change) {
	t.Helper()
	last := map[netns.Device]*Link{}
	for _, c := range cs {
		if c.Old != last[c.Key()] {
			t.Errorf("change of %v: old is %+v, the one before said %+v", c.Key(), c.Old, last[c.Key()])
		}
		if last[c.Key()] = c.New; c.New == nil {
			delete(last, c.Key())
		}
	}
}

func TestAdminDownIsItsOwnState(t *testing.T) {
	w := start(t, Config{}, false)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	c := w.add(ns)
	nettest.AttachTap(t, ns, "tap0")
	w.until(c, "tap0", "carrier", isUp)
	nettest.SetUp(t, ns, "tap0", false)
	l := w.until(c, "tap0", "administratively down", func(l Link) bool { return !l.AdminUp })
	if l.Changed.IsZero() {
		t.Error("an administrative change has no time")
	}
	nettest.SetUp(t, ns, "tap0", true)
	w.until(c, "tap0", "up again with carrier", func(l Link) bool { return l.AdminUp && l.Carrier == Up })
}

func TestQuickSwapOfHoldersEndsUp(t *testing.T) {
	w := start(t, Config{}, false)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	c := w.add(ns)
	old := nettest.AttachTap(t, ns, "tap0")
	before := w.until(c, "tap0", "carrier", isUp)
	old.Close()
	nettest.AttachTap(t, ns, "tap0")
	after := w.until(c, "tap0", "carrier after the swap", func(l Link) bool {
		return l.Carrier == Up && l.UpCount == before.UpCount+1
	})
	if after.DownCount != before.DownCount+1 {
		t.Errorf("%d losses after the swap, %d before", after.DownCount, before.DownCount)
	}
	nettest.Eventually(t, "the question after the loss", func() bool { return w.Stats().Asked > 0 })
	assertChained(t, w.of(c))
}

func TestVethAndItsPeer(t *testing.T) {
	w := start(t, Config{}, false)
	ns := nettest.Netns(t)
	host := nettest.Veth(t, ns)
	c := w.add(ns)
	self, err := netns.CookieOf("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	inner := w.until(c, "eth0", "carrier", isUp)
	outer := w.until(self, host, "carrier", isUp)
	if inner.Kind != "veth" || outer.Kind != "veth" {
		t.Errorf("kinds %q and %q", inner.Kind, outer.Kind)
	}
	if outer.Peer != inner.Ifindex || inner.Peer != outer.Ifindex {
		t.Errorf("peers %d and %d of %d and %d", outer.Peer, inner.Peer, outer.Ifindex, inner.Ifindex)
	}
	if outer.PeerNSID != inner.NSID || inner.PeerNSID != outer.NSID {
		t.Errorf("peers' nsids %d and %d of %d and %d", outer.PeerNSID, inner.PeerNSID, outer.NSID, inner.NSID)
	}
	nettest.SetUp(t, ns, "eth0", false)
	w.until(self, host, "no carrier with its peer down", isDown)
	if l := w.until(c, "eth0", "down", func(l Link) bool { return !l.AdminUp }); l.PeerNSID != outer.NSID {
		t.Errorf("an event replaced the peer's nsid by %d", l.PeerNSID)
	}
}

func TestNothingPinsANamespace(t *testing.T) {
	w := start(t, Config{}, false)
	ns := nettest.Netns(t)
	host := nettest.Veth(t, ns)
	c := w.add(ns)
	w.until(c, "eth0", "carrier", isUp)
	if err := netns.Delete(ns); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "the host's veth gone", func() bool {
		_, err := netlink.LinkByName(host)
		return err != nil
	})
	nettest.Eventually(t, "the namespace's links gone", func() bool { return len(w.In(c)) == 0 })
	nettest.Eventually(t, "each of them told", func() bool {
		alive := map[netns.Device]bool{}
		for _, change := range w.of(c) {
			alive[change.Key()] = change.New != nil
		}
		return !alive[netns.Device{Netns: c, Ifindex: 1}] && len(alive) == 2
	})
}

func TestNameReusedByAnotherNamespace(t *testing.T) {
	w := start(t, Config{}, false)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	nettest.AttachTap(t, ns, "tap0").Close()
	first := w.add(ns)
	was := w.until(first, "tap0", "found", isDown)
	if err := netns.Delete(ns); err != nil {
		t.Fatal(err)
	}
	if err := netns.Create(ns); err != nil {
		t.Fatal(err)
	}
	nettest.Tap(t, ns, "tap0")
	nettest.AttachTap(t, ns, "tap0")
	second := w.add(ns)
	if first == second {
		t.Fatal("two namespaces with one cookie")
	}
	is := w.until(second, "tap0", "found with carrier", isUp)
	nettest.Eventually(t, "the first one's links gone", func() bool { return len(w.In(first)) == 0 })
	if is.Netns == was.Netns || is.Ifindex != was.Ifindex {
		t.Errorf("first %+v, second %+v", was, is)
	}
	for _, change := range w.of(first) {
		if change.New != nil && change.New.Carrier == Up && change.New.Name == "tap0" {
			t.Errorf("the second one's carrier was told of the first: %+v", change.New)
		}
	}
}

func TestOverrunIsRecoveredFromTheCounters(t *testing.T) {
	const flaps = 300
	w := start(t, Config{Buffer: 4096, Backlog: 1}, true)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	c := w.add(ns)
	for range flaps {
		nettest.AttachTap(t, ns, "tap0").Close()
	}
	last := nettest.AttachTap(t, ns, "tap0")
	go w.listen()
	l := w.until(c, "tap0", "the last state", func(l Link) bool { return l.Carrier == Up && l.UpCount > flaps })
	nettest.Eventually(t, "in sync again", func() bool { return w.Stats().Synced })
	s := w.Stats()
	if s.Overruns == 0 || s.Resyncs < 2 {
		t.Errorf("no overrun, no resync: %+v", s)
	}
	nettest.Eventually(t, "as many ups told as the kernel counted", func() bool {
		return w.upsTold(c) == l.UpCount
	})
	last.Close()
	w.until(c, "tap0", "events heard again", isDown)
}

// What an event or a dump after an overrun puts right is no audit's find: the
// table is told untruths until an audit was the first to see one.
func TestAuditFindsWhatNoEventTold(t *testing.T) {
	w := start(t, Config{Audit: 1, rarely: 1}, false) // as often as it can
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	c := w.add(ns)
	l := w.until(c, "tap0", "found", isDown)
	lie := l
	lie.Name, lie.DownCount = "tap1", l.DownCount-1
	nettest.Eventually(t, "what the audit found counted", func() bool {
		w.table.put(w.table.of(c), lie, l.Changed, true)
		w.until(c, "tap0", "put right", isDown)
		return w.Stats().Missed > 0
	})
}
