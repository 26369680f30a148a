// Package agent watches every tap of this host and the path to the sandbox behind it.
// The workers here ask the kernel and hand what they learn to package slots, which
// holds all state; diagnosis, metrics and the API read its views.
package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/version"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tapwatch/agent/discover"
	"tapwatch/agent/events"
	"tapwatch/agent/holders"
	"tapwatch/agent/httpapi"
	"tapwatch/agent/link"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/recorder"
	"tapwatch/agent/slots"
	"tapwatch/agent/sockets"
	"tapwatch/bpf"
	"tapwatch/internal/caps"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// Agent is a running watch of one host.
type Agent struct {
	cfg      Config
	lock     *os.File
	listener net.Listener
	server   *http.Server
	events   events.Hub
	recorder *recorder.Recorder
	journal  *recorder.Journal // nil: none is kept
	self     netns.Cookie      // our own namespace

	slots   *slots.Slots // what is known
	inForce inForce      // the rules of the operator

	// What asks the kernel, one worker each.
	discover  *discover.Watcher
	links     *link.Watcher
	probe     *probe.Probe
	reader    *holders.Reader
	listening *sockets.Iterator // nil: not supported here
	lacks     map[string]error  // why, by the name of the capability
	pids      proc.Numbers      // that /proc shows
	counters  *counters
	hooker    *hooker
	guard     *guard
	holding   *holding
	vmms      *vmms
	listeners *listeners
	inspector *inspector
	health    *health
	apis      *apis
	hops      *hops
	tracer    *tracer

	collections   collections
	judge         *judge
	notifications *notifications
	refused       chan []slots.Key // to observe, which reads counters
	privileges    map[string]bool  // by name, whether the agent has it
}

// HooksDir is where the agent of a run directory keeps its notes of hooks.
func HooksDir(runDir string) string { return filepath.Join(runDir, "hooks") }

// New loads the programs and takes the port, so that what cannot work is said at
// once. Close it if Run is not called.
func New(cfg Config) (_ *Agent, err error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	if err := needPrivileges(cfg.AttachMode); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, refused: make(chan []slots.Key)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.lock, err = lock(cfg.RunDir); err != nil {
		return nil, err
	}
	if a.listener, err = listen(cfg.Listen); err != nil {
		return nil, err
	}
	defer bpf.ShareTypes()() // read once for all that is loaded here
	if err := a.load(); err != nil {
		return nil, err
	}
	if err := a.wire(); err != nil {
		return nil, err
	}
	a.startNotifications()
	if err := a.settlePrivileges(); err != nil {
		return nil, err
	}
	a.sayLacks()
	return a, nil
}

// load loads the programs; a look attaches none and owns no hooks.
func (a *Agent) load() (err error) {
	a.probe, err = probe.Load(probe.Config{EnvdPort: a.cfg.ServicePort, HooksDir: HooksDir(a.cfg.RunDir), Mode: a.cfg.AttachMode, Look: a.cfg.once})
	if err != nil {
		return err
	}
	a.pids, a.lacks = containerLacks()
	a.reader = holders.Open(holders.Config{PIDs: a.pids})
	a.lacks["holder_iterator"] = a.reader.Lacks()
	if a.pids.Host() {
		a.listening, a.lacks["listener_iterator"] = sockets.LoadIterator()
	} else { // it would list the listeners of some processes only
		a.lacks["listener_iterator"] = a.lacks[hostPIDs]
	}
	return nil
}

// settlePrivileges gives up what is needed no more, and notes what there is.
func (a *Agent) settlePrivileges() (err error) {
	// How namespaces tell their cookie is found out while one can still be made.
	if _, err := netns.CookieOf(netns.Own); err != nil {
		return err
	}
	if a.cfg.DropPrivileges {
		err := dropPrivileges(a.cfg.AttachMode)
		if errors.Is(err, caps.ErrCgo) {
			a.cfg.Log.Warn("all capabilities are kept", "err", err)
		} else if err != nil {
			return err
		}
	}
	a.privileges, err = heldPrivileges(a.cfg.AttachMode)
	return err
}

// wire makes the parts and ties them together: what the kernel says goes through the
// verbs of slots, and what slots asks for wakes a worker.
func (a *Agent) wire() (err error) {
	log := a.cfg.Log
	if a.self, err = netns.Current(); err != nil {
		return err
	}
	a.discover, err = discover.New(discover.Config{Registry: registry.Dir(a.cfg.RunDir), Rules: a.cfg.set, Plan: a.cfg.E2B, LabelValues: a.cfg.LabelValues, Nested: !a.pids.Host(), Log: log.With("part", "discover")})
	if err != nil {
		return err
	}
	a.links, err = link.New(link.Config{Resolve: a.discover.Resolve, Log: log.With("part", "link")})
	if err != nil {
		return err
	}
	a.inForce.put(&a.cfg.Rules)
	exits := openExits(a.pids, log)
	a.recorder = recorder.New(a.openJournal())
	a.slots = slots.New(slots.Config{Self: a.self, Port: a.cfg.ServicePort, Publish: a.publish, Boot: a.recorder.Boot, Ask: a.ask, Ignored: a.ignored, Silenced: a.silenced,
		Grace: a.cfg.SeriesGrace, NoHooks: a.cfg.once, SomeHolders: !a.reader.SeesAll()})
	a.counters = newCounters(a.probe, a.slots, log)
	a.hooker = newHooker(a.probe, a.slots, a.counters, log.With("part", "hooks"))
	a.guard = newGuard(a.probe, a.slots, a.counters, a.discover, a.cfg.once, log)
	a.vmms = newVMMs(exits, a.slots, log)
	a.holding = newHolding(a.reader, a.slots, a.discover, a.links, a.vmms, log)
	a.listeners = newListeners(a.cfg, a.listening, a.slots, a.self, log)
	a.judge = newJudge(a.cfg, a.slots, &a.inForce, a.vmms, a.counters, a.listeners)
	a.inspector = newInspector(a.slots, a.cfg.ServicePort, log)
	a.apis = newAPIs(a.slots)
	if a.hops, err = newHops(a.cfg, a.slots, log.With("part", "hops")); err != nil {
		return err
	}
	a.counters.done, a.holding.done, a.listeners.done, a.inspector.done, a.hops.done = &a.collections, &a.collections, &a.collections, &a.collections, &a.collections
	a.health = newHealth(a.cfg, a.slots, a.hops)
	a.tracer = newTracer(a.cfg, a.slots, a.hops, a.health, a.probe, a.self, log)
	handler, err := httpapi.New(httpapi.Config{
		Slots: a.slots.All, Views: a.slots.Views, Latency: a.hops.latency, Host: hostname(), Version: version.Version,
		Metrics: a.snapshot, Also: a.cfg.Also, Events: &a.events, Recorder: a.recorder, Ready: a.Ready, Lacks: a.Lacks, Levels: a.Levels, Log: log.With("part", "http"),
	})
	if err != nil {
		return err
	}
	a.server = httpapi.Server(handler)
	return nil
}

// openJournal opens the history on disk. Where that cannot be, the agent watches all the
// same: it is said, and the history ends with the process.
func (a *Agent) openJournal() *recorder.Journal {
	if a.cfg.HistoryDir == "" {
		return nil
	}
	log := a.cfg.Log.With("part", "history")
	a.journal, a.lacks[historyOnDisk] = recorder.OpenJournal(recorder.JournalConfig{Dir: a.cfg.HistoryDir, Keep: a.cfg.HistoryKeep, Bytes: a.cfg.HistoryBytes, Log: log})
	if err := a.lacks[historyOnDisk]; err != nil {
		log.Warn(takesAway[historyOnDisk], "err", err)
	}
	return a.journal
}

// ask wakes the worker for something that slots needs done. It is called with the
// state locked, so it must not wait.
func (a *Agent) ask(w slots.Work, keys ...slots.Key) {
	switch w {
	case slots.Judge:
		a.judge.wake.ask()
	case slots.Hold:
		a.holding.ask(keys...)
	case slots.Hook:
		a.hooker.wake.ask()
	case slots.Inspect:
		a.inspector.asked.ask(keys...)
	case slots.Listen:
		a.listeners.wake.ask()
	case slots.API:
		a.apis.ask()
	}
}

// publish hands on an event.
func (a *Agent) publish(e path.Event) {
	a.events.Publish(e)
	a.recorder.Note(e)
	a.cfg.Log.Debug("event", "kind", e.Kind, "netns", e.Netns, "sandbox", e.SandboxID, "text", e.Text)
}

// Addr is where the agent answers.
func (a *Agent) Addr() net.Addr { return a.listener.Addr() }

// Events are all events of the host's taps.
func (a *Agent) Events() *events.Hub { return &a.events }

// Slots returns every tap as it is now.
func (a *Agent) Slots() []path.Slot { return a.slots.All() }

// Ready is nil once namespaces and links were read completely.
func (a *Agent) Ready() error {
	if !a.discover.Stats().Ready {
		return errors.New("the namespaces have not been read yet")
	}
	if !a.links.Stats().Synced {
		return errors.New("the link state is being read (again)")
	}
	if !a.slots.Ready(time.Now()) {
		return errors.New("the links of some namespaces have not been read yet")
	}
	return nil
}

// Run watches until the context ends, then takes off every hook and returns nil.
// An error means that watching could not start or go on.
func (a *Agent) Run(ctx context.Context) error {
	defer a.Close()
	g, ctx := errgroup.WithContext(ctx)
	// Namespaces and links, in order, into slots; what follows from them, out of it.
	g.Go(func() error { return a.discover.Run(ctx) })
	g.Go(func() error { return a.links.Run(ctx) })
	g.Go(func() error { return a.watch(ctx) })
	g.Go(func() error { a.judge.run(ctx); return nil })
	// Facts that must be asked for, each by a worker of its own.
	g.Go(func() error { a.hooker.run(ctx); return nil })
	g.Go(func() error { a.observe(ctx); return nil })
	g.Go(func() error { a.holding.run(ctx, a.holding.read); return nil })
	g.Go(func() error { return a.vmms.run(ctx) })
	g.Go(func() error { a.listeners.run(ctx); return nil })
	g.Go(func() error { a.inspector.run(ctx); return nil })
	g.Go(func() error { a.health.run(ctx); return nil })
	g.Go(func() error { a.apis.run(ctx); return nil })
	g.Go(func() error { a.hops.run(ctx); return nil })
	g.Go(func() error { a.tracer.run(ctx); return nil })
	g.Go(func() error { return a.runNotifications(ctx) })
	g.Go(func() error { return a.guard.run(ctx) })
	go a.readTemplates(ctx) // not waited for: a store may hang
	// What people and programs read.
	g.Go(a.serve)
	g.Go(func() error {
		<-ctx.Done()
		return a.server.Close() // event streams have no end of their own
	})
	err := g.Wait()
	a.hooker.stop()
	return err
}

func (a *Agent) serve() error {
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", a.cfg.Listen, err)
	}
	return nil
}

// Close gives back what New took. After Run it does nothing more.
func (a *Agent) Close() error {
	var errs []error
	if a.listener != nil {
		if err := a.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if a.vmms != nil {
		errs = append(errs, a.vmms.close())
	}
	if a.inspector != nil {
		errs = append(errs, a.inspector.close())
	}
	errs = append(errs, a.hops.close(), a.journal.Close())
	a.guard.close()
	a.guard = nil
	errs = append(errs, a.notifications.close())
	a.notifications = nil
	if a.probe != nil {
		errs = append(errs, a.probe.Close(), a.reader.Close(), a.listening.Close())
		a.probe = nil
	}
	if a.lock != nil {
		errs = append(errs, unlock(a.lock))
		a.lock = nil
	}
	return errors.Join(errs...)
}

func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use: stop what listens there, or choose another address with --listen", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}
