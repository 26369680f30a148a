package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tapwatch/agent/identity"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
	"tapwatch/internal/registry"
)

// Config says where to look; its zero value is right for a host.
type Config struct {
	// Registry holds the launcher's records; empty means registry.DefaultDir.
	Registry registry.Dir
	// Every is the time between scans that find what no event told; 0 means 5 s.
	Every time.Duration
	// FullEvery is the time between scans that read every process again, however
	// old; 0 means 30 s.
	FullEvery time.Duration
	// rarely is how many times its own duration work waits that nothing asked for;
	// 0 means 2000, so that with thousands of slots it takes a two-thousandth of the
	// time.
	rarely time.Duration
	// Backlog is how many changes may wait for their consumer before discovery
	// waits as well; 0 means 4096.
	Backlog int
	// Rules say who processes and namespaces are; nil means those of known launchers.
	Rules *identity.Set
	// LabelValues is how many values of one group label are told apart; 0 means any.
	LabelValues int
	// Plan is the addresses that E2B's orchestrator gives its slots; zero means its
	// default.
	Plan e2b.Plan
	// Nested says that /proc does not show all processes of the host: those that
	// records name may be elsewhere.
	Nested bool
	// Log is told what could not be read; nil means slog.Default().
	Log *slog.Logger
}

func (c *Config) fill() error {
	if c.Every < 0 || c.FullEvery < 0 || c.Backlog < 0 {
		return errors.New("discover: times and backlog must not be negative")
	}
	if c.Registry == "" {
		c.Registry = registry.DefaultDir
	}
	if c.Every == 0 {
		c.Every = 5 * time.Second
	}
	if c.rarely == 0 {
		c.rarely = 2000
	}
	if c.FullEvery == 0 {
		c.FullEvery = 30 * time.Second
	}
	if c.Backlog == 0 {
		c.Backlog = 4096
	}
	if c.Plan == (e2b.Plan{}) {
		c.Plan = e2b.DefaultPlan()
	}
	if c.Rules == nil {
		rules, err := identity.Compile(nil, identity.Options{})
		if err != nil {
			return err
		}
		c.Rules = rules
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

// Watcher keeps track of the namespaces. Its methods may be called from any
// goroutine.
type Watcher struct {
	cfg     Config
	changes chan Change
	rescan  chan struct{}
	reread  chan struct{} // the rules are others
	stats   counters
	conn    *nlsafe.Conn // opened by Run
	self    netns.Cookie // the agent's own namespace

	// Of Run's goroutine alone:
	dirs      *dirs
	nsids     *nsids
	names     *names
	procs     *procs
	who       *who
	named     *named // nil before the first merge
	records   *registry.Reader
	nested    nested              // where Config says so
	held      map[member]place    // shown by processes and threads only
	ended     map[netns.NSID]bool // heard since the last merge
	dirty     map[string]bool     // names to read
	rewritten map[string]bool     // files of records to read
	changed   bool                // something that a merge has not seen yet
	work      tasks

	mu      sync.Mutex // of what follows
	entries map[netns.Cookie]*Entry
	byNSID  map[netns.NSID]*Entry
	ready   bool
}

// New makes a watcher; nothing is opened before Run.
func New(cfg Config) (*Watcher, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	who := newWho(cfg.Rules)
	who.groups.most = cfg.LabelValues
	return &Watcher{
		cfg:       cfg,
		who:       who,
		changes:   make(chan Change, cfg.Backlog),
		rescan:    make(chan struct{}, 1),
		reread:    make(chan struct{}, 1),
		procs:     newProcs(who),
		held:      map[member]place{},
		nested:    nested{},
		ended:     map[netns.NSID]bool{},
		dirty:     map[string]bool{},
		rewritten: map[string]bool{},
		records:   registry.NewReader(cfg.Registry),
		entries:   map[netns.Cookie]*Entry{},
		byNSID:    map[netns.NSID]*Entry{},
	}, nil
}

// Changes delivers every change once and in order, to one consumer; discovery
// waits for it. It is closed when Run returns.
func (w *Watcher) Changes() <-chan Change { return w.changes }

// Rescan asks for a look at the processes soon, which tell nothing by
// themselves: call it when a tap's carrier changes. It does not wait; what comes
// at once is done once.
func (w *Watcher) Rescan() {
	select {
	case w.rescan <- struct{}{}:
	default:
	}
}

// Run discovers until the context ends, and returns nil then. An error means
// that it could not start. It must be called once, in the agent's namespace.
func (w *Watcher) Run(ctx context.Context) error {
	defer close(w.changes)
	if err := w.open(); err != nil {
		return fmt.Errorf("discover namespaces: %w", err)
	}
	var listener sync.WaitGroup
	listener.Go(w.nsids.listen)
	defer listener.Wait()
	defer w.close()
	w.loop(ctx)
	return nil
}

func (w *Watcher) open() (err error) {
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	conn, err := nlsafe.Dial()
	if err != nil {
		return err
	}
	self, err := netns.CookieOf(netns.Own)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	w.mu.Lock()
	w.conn, w.self = conn, self
	w.mu.Unlock()
	w.names = newNames(conn, self)
	if w.nsids, err = listenNSIDs(); err != nil {
		return err
	}
	w.dirs, err = newDirs(netns.Dir, w.cfg.Registry.SlotsDir())
	return err
}

func (w *Watcher) close() {
	if w.conn != nil {
		w.conn.Close()
	}
	if w.nsids != nil {
		w.nsids.close()
	}
	if w.dirs != nil {
		w.dirs.close()
	}
}

// failed counts an error and prints it where it is not the last one again.
func (w *Watcher) failed(err error) {
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return
	}
	w.stats.errors.Add(1)
	text := err.Error()
	if last := w.stats.lastError.Swap(&text); last == nil || *last != text {
		w.cfg.Log.Warn("discovery is incomplete", "err", err)
	}
}

type counters struct {
	scans, errors, procsRead atomic.Uint64
	namesTook, procsTook     atomic.Int64
	mergeTook                atomic.Int64
	lastError                atomic.Pointer[string]
}

// Use has other rules in force, for namespaces and processes alike.
func (w *Watcher) Use(rules *identity.Set) {
	w.who.use(rules)
	select {
	case w.reread <- struct{}{}:
	default:
	}
}
