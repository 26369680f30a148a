package discover

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// TestMain lets a copy of the test binary be the foreign Firecracker: a real
// process with that command line, which says that it runs and waits for its
// end; or a wanderer. Both end by themselves when the test does.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "firecracker") {
		os.Stdout.WriteString("running\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	if os.Args[0] == wanderer {
		wander()
	}
	os.Exit(m.Run())
}

type watch struct {
	*Watcher
	t    testing.TB
	mu   sync.Mutex
	told []Change
}

// start runs a watcher until the test's end, that scans so rarely that only
// events count where often is not set.
func start(t testing.TB, cfg Config) *watch {
	t.Helper()
	nettest.NeedRoot(t)
	if cfg.Registry == "" {
		cfg.Registry = registry.Dir(t.TempDir())
	}
	if cfg.Every == 0 {
		cfg.Every, cfg.FullEvery = time.Hour, time.Hour
	}
	inner, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{Watcher: inner, t: t}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	go func() {
		for c := range w.Changes() {
			w.mu.Lock()
			w.told = append(w.told, c)
			w.mu.Unlock()
		}
	}()
	nettest.Eventually(t, "the first scan", func() bool { return w.Stats().Ready })
	return w
}

// named waits for an entry of that name.
func (w *watch) named(name, what string, ok func(Entry) bool) (e Entry) {
	w.t.Helper()
	nettest.Eventually(w.t, name+": "+what, func() bool {
		for _, e = range w.Snapshot() {
			if slices.Contains(e.Names, name) && ok(e) {
				return true
			}
		}
		return false
	})
	return e
}

func (w *watch) gone(c netns.Cookie) {
	w.t.Helper()
	nettest.Eventually(w.t, "the namespace gone", func() bool {
		_, there := w.Get(c)
		return !there
	})
}

// steps returns what was told of a namespace: that it is there, or has gone.
func (w *watch) steps(c netns.Cookie) (steps []bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, change := range w.told {
		if change.Cookie() == c {
			steps = append(steps, change.New != nil)
		}
	}
	return steps
}

func present(Entry) bool  { return true }
func bound(e Entry) bool  { return e.rank() == 0 }
func idle(e Entry) bool   { return e.rank() == 1 }
func noones(e Entry) bool { return e.rank() == 2 }

func TestNamespacesComeAndGo(t *testing.T) {
	early := nettest.Netns(t)
	w := start(t, Config{})
	w.named(early, "found at start", noones)

	late := nettest.Netns(t)
	e := w.named(late, "found by its event", noones)
	c, err := netns.CookieOf(late)
	if err != nil {
		t.Fatal(err)
	}
	if e.Cookie != c || e.NSID < 0 || e.Inode == 0 || e.Name != late || e.Path != netns.Path(late) {
		t.Errorf("found %+v, cookie %d", e, c)
	}
	if got, ok := w.Resolve(e.NSID); !ok || got != c {
		t.Errorf("nsid %d resolved to %d, %v", e.NSID, got, ok)
	}
	if err := netns.Delete(late); err != nil {
		t.Fatal(err)
	}
	w.gone(c)
	if got, ok := w.Resolve(e.NSID); ok && got == c { // another test's namespace may have it by now
		t.Error("the nsid of a namespace that has gone was resolved")
	}
	nettest.Eventually(t, "its coming and going told", func() bool {
		steps := w.steps(c)
		return len(steps) > 1 && steps[0] && !steps[len(steps)-1]
	})
}

func TestNameBeforeItsNamespace(t *testing.T) {
	w := start(t, Config{})
	other := nettest.Netns(t)
	name := nettest.RandomName("twtest-")
	path := netns.Path(name)
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.Delete(name) })
	// The file was read as no namespace once the one made after it is there.
	w.named(nettest.Netns(t), "found", present)
	if err := unix.Mount(netns.Path(other), path, "none", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	e := w.named(name, "found after its mount", present)
	if !slices.Equal(e.Names, slices.Sorted(slices.Values([]string{name, other}))) {
		t.Errorf("one namespace of two names has %q", e.Names)
	}
	if err := netns.Delete(name); err != nil {
		t.Fatal(err)
	}
	w.named(other, "alone again", func(e Entry) bool { return len(e.Names) == 1 })
}

func TestNameReused(t *testing.T) {
	w := start(t, Config{})
	name := nettest.Netns(t)
	first := w.named(name, "found", present)
	if err := netns.Delete(name); err != nil {
		t.Fatal(err)
	}
	if err := netns.Create(name); err != nil {
		t.Fatal(err)
	}
	second := w.named(name, "found again", func(e Entry) bool { return e.Cookie != first.Cookie })
	w.gone(first.Cookie)
	if got, ok := w.Resolve(second.NSID); !ok || got != second.Cookie {
		t.Errorf("nsid %d resolved to %d, %v", second.NSID, got, ok)
	}
}

func TestWatchPinsNothing(t *testing.T) {
	w := start(t, Config{})
	ns := nettest.Netns(t)
	host := nettest.Veth(t, ns)
	e := w.named(ns, "found", present)
	if err := netns.Delete(ns); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "the host's veth gone", func() bool {
		_, err := netlink.LinkByName(host)
		return err != nil
	})
	w.gone(e.Cookie)
}

func TestNamelessWhileHeld(t *testing.T) {
	w := start(t, Config{})
	ns := nettest.Netns(t)
	tap := nettest.AttachTap(t, ns, "tap0") // an open tap keeps its device's namespace
	e := w.named(ns, "found", present)
	if err := netns.Delete(ns); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "its name gone", func() bool {
		now, there := w.Get(e.Cookie)
		return there && now.Name == "" && now.Last == ns && now.Label() == ns && now.NSID == e.NSID
	})
	tap.Close()
	w.gone(e.Cookie)
}

func TestRecordsBind(t *testing.T) {
	dir := registry.Dir(filepath.Join(t.TempDir(), "not", "there", "yet"))
	w := start(t, Config{Registry: dir})
	ns := nettest.Netns(t)
	e := w.named(ns, "nobody's", noones)

	owner, err := proc.ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	slot := registry.Slot{Index: 1, Netns: ns, Cookie: e.Cookie, Tap: "tap0", HostVeth: "veth-1", Owner: owner}
	put := func() {
		t.Helper()
		if err := dir.Put(slot); err != nil {
			t.Fatal(err)
		}
	}
	put()
	e = w.named(ns, "an idle slot", idle)
	if s := e.Slot; s.Launcher != "tapwatch" || s.OwnerAlive != path.Yes || s.VMMAlive != path.Unknown || s.Tap != "tap0" || s.Record == nil {
		t.Errorf("idle: %+v", s)
	}
	slot.Sandbox = &registry.Sandbox{ID: "sbx", State: registry.Running, VMMProcess: owner, CreatedAt: time.Now()}
	put()
	e = w.named(ns, "bound", bound)
	if s := e.Slot; s.Record.Sandbox.ID != "sbx" || s.Record.Sandbox.State != registry.Running || s.VMMAlive != path.Yes {
		t.Errorf("bound: %+v", s)
	}
	slot.Sandbox.VMMProcess.Start++ // another process, of the past
	put()
	w.named(ns, "its VMM dead", func(e Entry) bool { return e.Slot != nil && e.Slot.VMMAlive == path.No })
	if err := dir.Remove(1); err != nil {
		t.Fatal(err)
	}
	w.named(ns, "nobody's again", noones)
}

// firecracker starts a foreign VMM in a namespace, by the words that E2B starts
// its own with, and returns what ends it.
func firecracker(t *testing.T, ns, sandboxID string) (stop func()) {
	t.Helper()
	for _, tool := range []string{"ip", "unshare", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			nettest.Unfit(t, "no "+tool)
		}
	}
	_, running, stop := command(t, "unshare", "-m", "--", "bash", "-c",
		"true; ip netns exec "+ns+" "+program(t)+" --api-sock /tmp/fc-"+sandboxID+"-r4nd.sock")
	running()
	return stop
}

// program is a program called firecracker.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "firecracker")
	// A child that another test forks meanwhile would have the file open for writing
	// until its exec, and this one could not be run: "text file busy".
	syscall.ForkLock.RLock()
	err = os.WriteFile(path, self, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// command starts a process that becomes a firecracker by its own doing, and ends
// when its input does. Running waits for the firecracker.
func command(t *testing.T, name string, args ...string) (stdin io.Writer, running, stop func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	c := nettest.Start(t, "", cmd)
	return c.In, func() { t.Helper(); c.Hears(t, "running") }, c.Stop
}

// create makes a namespace of that name until the test's end.
func create(t *testing.T, name string) string {
	t.Helper()
	nettest.NeedRoot(t)
	if err := netns.Create(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.Delete(name) }) // gone already is as well
	return name
}

func TestForeignFirecracker(t *testing.T) {
	w := start(t, Config{})
	ns := create(t, "ns-9"+strconv.Itoa(100_000+rand.IntN(900_000))) // no slot of a real host has that number
	w.named(ns, "an idle slot", idle)

	id := nettest.RandomName("i")
	stop := firecracker(t, ns, id)
	w.Rescan()
	e := w.named(ns, "bound", bound)
	if e.Slot == nil || e.Slot.Launcher != "e2b" || e.Slot.Tap != "tap0" || len(e.VMMs) != 1 {
		t.Fatalf("bound: %+v", e)
	}
	v := e.VMMs[0]
	if v.Identity.SandboxID != id || v.Identity.Launcher != "e2b" || v.Identity.Slot != ns[3:] || v.Netns != e.Cookie || v.Inode != e.Inode {
		t.Errorf("its VMM: %+v", v)
	}
	if exe, err := os.Readlink("/proc/" + strconv.Itoa(v.Process.PID) + "/exe"); err != nil || filepath.Base(exe) != "firecracker" {
		t.Errorf("the VMM is pid %d, which is %s, %v", v.Process.PID, exe, err)
	}
	if age := time.Since(v.Started); age < -time.Minute || age > time.Minute {
		t.Errorf("started %s", v.Started)
	}
	stop()
	w.Rescan()
	w.named(ns, "idle again", idle)
}

func TestFirecrackerInANamespaceWithoutName(t *testing.T) {
	w := start(t, Config{})
	ns := nettest.Netns(t)
	e := w.named(ns, "found", present)
	stop := firecracker(t, ns, "nameless")
	if err := netns.Delete(ns); err != nil {
		t.Fatal(err)
	}
	w.Rescan()
	nettest.Eventually(t, "bound, without a name", func() bool {
		now, there := w.Get(e.Cookie)
		return there && now.Name == "" && now.Label() == ns && bound(now) && now.VMMs[0].Identity.SandboxID == "nameless"
	})
	if got, ok := w.Resolve(e.NSID); !ok || got != e.Cookie {
		t.Errorf("nsid %d resolved to %d, %v", e.NSID, got, ok)
	}
	stop()
	w.Rescan()
	w.gone(e.Cookie)
}
