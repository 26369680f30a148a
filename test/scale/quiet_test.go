package scale

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tapwatch/agent/httpapi"
	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/network"
	"tapwatch/internal/sandbox/server"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/template/templatetest"
	"tapwatch/internal/sandbox/vmm/qemu"
)

// TestOrderedLivesAreQuiet creates and kills sandboxes, several at a time and on a busy
// machine, as fast as E2B does. Nobody hears of a problem, since there is none.
func TestOrderedLivesAreQuiet(t *testing.T) { quiet(t, 50) }

// lives is a launcher whose sandboxes come and go, and an agent that watches it.
type lives struct {
	t      *testing.T
	server *server.Server
	agent  atomic.Pointer[watcher]
	asked  atomic.Int64 // requests of clients

	mu     sync.Mutex
	ours   map[string]bool // ids of sandboxes
	slots  map[string]network.Slot
	events []path.Event
}

func quiet(t *testing.T, sandboxes int) {
	nettest.NeedRoot(t)
	installQEMU(t)
	bin, dir := build(t), runDir(t)
	l := &lives{t: t, ours: map[string]bool{}, slots: map[string]network.Slot{}}
	s, err := server.New(server.Config{
		APIListen: "127.0.0.1:0", ProxyListen: fmt.Sprintf("127.0.0.1:%d", e2b.EnvdPort), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Sandbox: sandbox.Config{RunDir: string(dir), DataDir: templatetest.Store(t).Dir, Accel: qemu.TCG, PoolSize: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.server = s
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Run(serving) }()
	l.watch(watch(t, bin, dir, "--proxy", s.ProxyAddr().String()))
	busy := burn(t)

	var g errgroup.Group
	g.SetLimit(6)
	for i := range sandboxes {
		switch i { // what may happen to an agent meanwhile
		case sandboxes / 5:
			l.takeHooks()
		case 2 * sandboxes / 5:
			l.agent.Load().p.Kill()
			l.watch(watch(t, bin, dir, "--proxy", s.ProxyAddr().String()))
		case 3 * sandboxes / 5:
			l.starve()
		case 4 * sandboxes / 5:
			l.takeHooks()
		}
		last := i >= sandboxes-4 // these go with their launcher
		g.Go(func() error { return l.live(t.Context(), last) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	l.agent.Load().until("all are gone", func() bool { return l.agent.Load().sum("tapwatch_slots") <= 0 || l.gone() })
	time.Sleep(2 * time.Second) // for what would come late
	busy()
	l.judge(sandboxes)
}

// live is the life of one sandbox, whose clients ask for it all the time.
func (l *lives) live(ctx context.Context, stays bool) error {
	m := l.server.Manager()
	s, err := m.Create(ctx, sandbox.CreateRequest{Template: template.Default.Alias(), Timeout: time.Hour})
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.ours[s.ID], l.slots[s.ID] = true, s.Slot
	l.mu.Unlock()
	asking, enough := context.WithCancel(ctx)
	defer enough()
	go l.ask(asking, s.ID)
	pause(1, 400)
	if stays {
		return nil
	}
	l.mu.Lock()
	delete(l.slots, s.ID)
	l.mu.Unlock()
	return m.Kill(ctx, s.ID)
}

// ask is a client of a sandbox, by the proxy.
func (l *lives) ask(ctx context.Context, id string) {
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.server.ProxyAddr().String()+"/health", nil)
		if err != nil {
			return
		}
		req.Host = fmt.Sprintf("%d-%s.test", e2b.EnvdPort, id)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			if resp.StatusCode == http.StatusNoContent {
				l.asked.Add(1)
			}
			resp.Body.Close()
		}
		pause(5, 30)
	}
}

// watch gathers what an agent tells, until its end.
func (l *lives) watch(w *watcher) {
	l.agent.Store(w)
	w.until("ready", w.ready)
	go func() {
		_ = httpapi.Client{BaseURL: w.url}.Events(l.t.Context(), httpapi.KeptAndNew, func(e path.Event, _ string) { // it may be killed
			l.mu.Lock()
			defer l.mu.Unlock()
			l.events = append(l.events, e)
		})
	}()
}

// takeHooks takes the agent's hooks from the taps of all sandboxes, as other programs do.
func (l *lives) takeHooks() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.slots {
		_ = netns.Do(s.Netns(), func() error { // it may be going
			tap, err := netlink.LinkByName(s.Tap())
			if err != nil {
				return err
			}
			return netlink.QdiscDel(clsact(tap.Attrs().Index))
		})
	}
}

// starve leaves the agent no file descriptor for a while.
func (l *lives) starve() {
	pid := l.agent.Load().pid()
	var was unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		l.t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}, nil); err != nil {
		l.t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { _ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &was, nil) }) // it may have ended
}

// gone says whether the agent knows no sandbox of ours any more.
func (l *lives) gone() bool {
	for _, s := range l.agent.Load().paths() {
		if s.Sandbox != nil && l.ours[s.Sandbox.ID] {
			return false
		}
	}
	return true
}

func (l *lives) judge(sandboxes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kinds := map[path.EventKind]int{}
	var lines []string
	for _, e := range l.events {
		if !strings.HasPrefix(e.Netns, "ns-") { // of other tests on this machine, which have no such names here
			continue
		}
		kinds[e.Kind]++
		if e.SandboxID != "" && !l.ours[e.SandboxID] {
			l.t.Errorf("nobody made that sandbox: %s", e)
		}
		lines = append(lines, e.String())
		if e.Kind == path.Problem || e.Kind == path.Cleared {
			l.t.Errorf("told: %s", e)
		}
	}
	l.t.Logf("%d sandboxes, %d requests answered, events %v", sandboxes, l.asked.Load(), kinds)
	if kinds[path.Bound] < sandboxes/2 || l.server != nil && l.asked.Load() < int64(sandboxes) {
		l.t.Errorf("%d were seen to come, %d requests were answered: nothing was tried", kinds[path.Bound], l.asked.Load())
	}
	if l.t.Failed() {
		slices.Sort(lines)
		for _, line := range lines {
			l.t.Log(line)
		}
	}
}

// burn keeps the machine busy until it is told to stop.
func burn(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for n := uint64(1); ctx.Err() == nil; n = n*6364136223846793005 + 1 {
				for range 1 << 16 {
					n = n*6364136223846793005 + 1
				}
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// TestOrderedForeignLivesAreQuiet has another launcher's VMMs come to slots that are
// used again and again, and go: it ends them itself.
func TestOrderedForeignLivesAreQuiet(t *testing.T) {
	f := makeFleet(t, 4, 0)
	fc := firecracker(t)
	l := &lives{t: t, ours: map[string]bool{}}
	bin := build(t)
	l.watch(watch(t, bin, f.dir))
	l.agent.Load().hookedAll(f.n)
	busy := burn(t)
	const sandboxes = 50
	for i := range sandboxes {
		id := fmt.Sprintf("iforeign%d", i)
		l.mu.Lock()
		l.ours[id] = true
		l.mu.Unlock()
		vmm := vmmIn(t, fc, network.Slot{Index: i%f.n + 1}, id)
		pause(50, 300)
		if i == sandboxes/2 {
			l.agent.Load().p.Kill()
			l.watch(watch(t, bin, f.dir))
		}
		if err := vmm.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = vmm.Wait()
	}
	time.Sleep(3 * time.Second) // for what would come late
	busy()
	l.judge(sandboxes)
}
