// Package agent watches every sandbox path of this host. It starts and stops the
// parts, and one goroutine of its own applies what they tell to the model.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tapwatch/agent/discover"
	"tapwatch/agent/events"
	"tapwatch/agent/holders"
	"tapwatch/agent/httpapi"
	"tapwatch/agent/link"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/sockets"
	"tapwatch/bpf"
	"tapwatch/internal/caps"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// Config says what to watch and where to answer; the zero value is right for a
// host.
type Config struct {
	Listen string // of /metrics and the API; empty means 127.0.0.1:10917
	RunDir string // of the launcher's records and our own notes; empty means registry.DefaultDir
	// Proxy is where layer 1 is expected; the zero value means 127.0.0.1:49983.
	Proxy netip.AddrPort
	// Every is the time between two readings of counters and listeners; 0 means
	// 1 s. Carrier is not read but told.
	Every time.Duration
	// SeriesGrace is for how long the counters of a sandbox's tap are told after it
	// has gone, so that a scrape sees their last values; 0 means 30 s, below 0 not.
	SeriesGrace time.Duration
	// TemplateCache is where E2B's orchestrator keeps what it resumes from; empty:
	// it is not looked at.
	TemplateCache string
	// AttachMode is how the frames of taps are seen; empty means probe.ModeAuto.
	AttachMode probe.Mode
	// ProbeEvery is for how long a sandbox must have answered no real request until
	// its envd is asked for its health, from inside its namespace and through layer
	// 1, and how often then; 0 means never.
	ProbeEvery time.Duration
	// NoHops leaves the latency of hops unmeasured, which costs every packet of the
	// host some nanoseconds.
	NoHops bool
	// HopsPerSandbox is how many sandboxes get latencies of their own; 0 means none.
	HopsPerSandbox int
	// DropPrivileges gives up, once started, every capability that the mode does
	// not use: for a process that is the agent and nothing else.
	DropPrivileges bool
	// Also is exported beside what the agent knows: what others in this process have
	// counted.
	Also []prometheus.Collector
	Log  *slog.Logger // nil means slog.Default
}

func (c *Config) fill() error {
	if c.Every < 0 || c.ProbeEvery < 0 {
		return errors.New("agent: the time between readings must not be negative")
	}
	if c.HopsPerSandbox < 0 {
		return errors.New("agent: the number of sandboxes with latencies of their own must not be negative")
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:10917"
	}
	if c.RunDir == "" {
		c.RunDir = registry.DefaultDir
	}
	if !c.Proxy.IsValid() {
		c.Proxy = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), e2b.EnvdPort)
	}
	if c.SeriesGrace == 0 {
		c.SeriesGrace = seriesGrace
	}
	if c.Every == 0 {
		c.Every = time.Second
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

// Agent is a running watch of one host.
type Agent struct {
	cfg        Config
	lock       *os.File
	listener   net.Listener
	server     *http.Server
	discover   *discover.Watcher
	links      *link.Watcher
	probe      *probe.Probe
	holders    *holders.Reader
	listens    *sockets.Iterator // nil: not supported here
	lacks      map[string]error  // by capability
	events     events.Hub
	model      *model
	holding    *holding
	vmms       *vmms
	inspector  *inspector
	told       *told
	refused    chan []*slot // to observe, which alone reads counters
	health     *health
	apis       *apis
	hops       *hops
	self       netns.Cookie    // our own namespace
	privileges map[string]bool // by name, whether the agent has it
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
	a := &Agent{cfg: cfg, refused: make(chan []*slot)}
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
	defer bpf.KeepTypes()() // read once for all that is loaded here
	if err := a.load(false); err != nil {
		return nil, err
	}
	if err := a.wire(); err != nil {
		return nil, err
	}
	a.hear()
	return a, a.settlePrivileges()
}

// load loads the programs; a look attaches none and owns no hooks.
func (a *Agent) load(look bool) (err error) {
	a.probe, err = probe.Load(probe.Config{EnvdPort: e2b.EnvdPort, HooksDir: HooksDir(a.cfg.RunDir), Mode: a.cfg.AttachMode, Look: look})
	if err != nil {
		return err
	}
	a.holders = holders.Open(holders.Config{})
	var lack error
	a.listens, lack = sockets.LoadIterator()
	a.lacks = map[string]error{"holder_iterator": a.holders.Lacks(), "listener_iterator": lack}
	return nil
}

// settlePrivileges gives up what is needed no more, and notes what there is.
func (a *Agent) settlePrivileges() (err error) {
	// How namespaces tell their cookie is found out while one can still be made.
	if _, err := netns.CookieOf("/proc/thread-self/ns/net"); err != nil {
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

// wire makes the parts and ties them together.
func (a *Agent) wire() (err error) {
	log := a.cfg.Log
	a.discover, err = discover.New(discover.Config{Registry: registry.Dir(a.cfg.RunDir), Log: log.With("part", "discover")})
	if err != nil {
		return err
	}
	a.links, err = link.New(link.Config{Resolve: a.discover.Resolve, Log: log.With("part", "link")})
	if err != nil {
		return err
	}
	if a.self, err = netns.Current(); err != nil {
		return err
	}
	a.model = newModel(a, log.With("part", "model"))
	a.apis = &apis{model: a.model}
	a.inspector = newInspector(a.model, log)
	a.model.newlyBound = func(s *slot) {
		a.inspector.asked.ask(s)
		if a.told != nil {
			a.told.relays.ask()
		}
	}
	a.holding = newHolding(a.holders, a.model, a.discover, log)
	a.model.nameOf = a.holding.nameOf
	a.vmms = newVMMs(a.model, log)
	if a.hops, err = newHops(a.cfg, a.model, log.With("part", "hops")); err != nil {
		return err
	}
	a.health = newHealth(a.cfg, a.model, a.hops)
	handler, err := httpapi.New(httpapi.Config{
		Slots: a.model.Slots, Metrics: a.snapshot, Also: a.cfg.Also, Events: &a.events, Recorder: a.model.recorder, Ready: a.Ready, Log: log.With("part", "http"),
	})
	if err != nil {
		return err
	}
	a.server = httpapi.Server(handler)
	return nil
}

// Addr is where the agent answers.
func (a *Agent) Addr() net.Addr { return a.listener.Addr() }

// Events are all events of the host's slots.
func (a *Agent) Events() *events.Hub { return &a.events }

// Slots returns every slot as it is now.
func (a *Agent) Slots() []path.Slot { return a.model.Slots() }

// Ready is nil once namespaces and links were read completely.
func (a *Agent) Ready() error {
	if !a.discover.Stats().Ready {
		return errors.New("the namespaces have not been read yet")
	}
	if !a.links.Stats().Synced {
		return errors.New("the link state is being read (again)")
	}
	return a.model.ready()
}

// Run watches until the context ends, then takes off every hook and returns nil.
// An error means that watching could not start or go on.
func (a *Agent) Run(ctx context.Context) error {
	defer a.Close()
	g, ctx := errgroup.WithContext(ctx)
	// The parts outlive the context until the model has stopped reading them.
	g.Go(func() error { return a.discover.Run(ctx) })
	g.Go(func() error { return a.links.Run(ctx) })
	g.Go(func() error { return a.watch(ctx) })
	g.Go(func() error { a.observe(ctx); return nil })
	g.Go(func() error { a.holding.run(ctx, a.holding.read); return nil })
	go a.readTemplates(ctx) // not waited for: a store may hang
	g.Go(func() error { return a.vmms.run(ctx) })
	g.Go(func() error { a.inspector.run(ctx); return nil })
	g.Go(func() error { return a.runTold(ctx) })
	g.Go(func() error { a.health.run(ctx); return nil })
	g.Go(func() error { a.apis.run(ctx); return nil })
	g.Go(func() error { a.hops.run(ctx); return nil })
	g.Go(func() error { a.model.hooker.run(ctx); return nil })
	g.Go(a.serve)
	g.Go(func() error {
		<-ctx.Done()
		return a.server.Close() // event streams have no end of their own
	})
	err := g.Wait()
	a.model.detachAll()
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
	errs = append(errs, a.hops.close())
	errs = append(errs, a.told.close())
	a.told = nil
	if a.probe != nil {
		errs = append(errs, a.probe.Close(), a.holders.Close(), a.listens.Close())
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
