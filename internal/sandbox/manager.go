package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"tapwatch/internal/pairing"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/conns"
	"tapwatch/internal/sandbox/metrics"
	"tapwatch/internal/sandbox/network"
	"tapwatch/internal/sandbox/proxy"
	"tapwatch/internal/sandbox/relay"
	"tapwatch/internal/sandbox/stream"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/vmm/qemu"
)

// closeTime bounds Close: killing a VMM takes milliseconds unless the kernel
// does not let it go.
const closeTime = 30 * time.Second

// Manager owns the sandboxes of one launcher. All methods may be called
// concurrently.
type Manager struct {
	cfg    Config
	store  template.Store
	pool   *network.Pool
	relay  *relay.Relay
	boots  *queue
	room   *room
	teller *pairing.Teller // tells the agent which sockets belong together

	mu      sync.Mutex
	byID    map[string]*instance // those being removed are not among them
	proxies []*proxy.Proxy
	closed  bool
	live    sync.WaitGroup     // instances not yet wholly removed, and what runs beside them
	stop    context.CancelFunc // of what runs beside the instances
}

// New starts a manager without sandboxes. It fails in one line where this
// process cannot make slots: a missing capability, no /dev/net/tun.
func New(cfg Config) (*Manager, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("start launcher: %w", err)
	}
	if err := network.Check(); err != nil {
		return nil, fmt.Errorf("start launcher: %w", err)
	}
	if err := os.MkdirAll(consoleDir(cfg.RunDir), 0o755); err != nil {
		return nil, fmt.Errorf("start launcher: %w", err)
	}
	pool, err := network.NewPool(cfg.pool())
	if err != nil {
		return nil, fmt.Errorf("start launcher: %w", err)
	}
	teller := new(pairing.Teller)
	r, err := relay.WithConfig(stream.Config{Log: cfg.Log, MaxOpen: maxOpen(), Paired: teller.Tell, Heard: teller.Heard})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start launcher: %w", err), pool.Close())
	}
	m := &Manager{
		cfg: cfg, pool: pool, relay: r, teller: teller,
		boots: newQueue(cfg.Boots, cfg.BootQueue),
		room:  &room{sandboxes: cfg.MaxSandboxes, perOwner: cfg.MaxPerOwner, memoryMiB: memoryForSandboxes(), owners: make(map[string]int)},
		store: template.Store{Dir: cfg.DataDir},
		byID:  make(map[string]*instance),
	}
	m.warnOfLeftovers()
	if err := qemu.Check(); err != nil {
		cfg.Log.Warn("no sandbox can start", "err", err)
	}
	var working context.Context
	working, m.stop = context.WithCancel(context.Background())
	m.live.Go(func() { teller.Run(working, cfg.RunDir) })
	m.live.Go(func() { m.probe(working) })
	m.live.Go(func() { m.trimConsoles(working) })
	return m, nil
}

// warnOfLeftovers tells of slots whose launcher was killed. They are passed over,
// not removed: whoever looks into what happened may still need them.
func (m *Manager) warnOfLeftovers() {
	slots, err := registry.Dir(m.cfg.RunDir).List()
	if err != nil {
		m.cfg.Log.Warn("cannot read all slot records", "err", err)
	}
	slots = slices.DeleteFunc(slots, func(s registry.Slot) bool { return s.Owner.Alive() })
	if len(slots) > 0 {
		m.cfg.Log.Warn("a killed launcher has left slots: tapwatch cleanup removes them", "slots", len(slots))
	}
}

// probe finds out beforehand whether KVM works, which may take seconds that the
// first sandbox would wait for. Without a template the first sandbox will.
func (m *Manager) probe(ctx context.Context) {
	t, err := m.store.Find(template.Default.Alias())
	if err != nil || m.cfg.Accel != "" && m.cfg.Accel != qemu.Auto {
		return
	}
	v, err := qemu.Probe(ctx, t.Kernel, t.Initrd, m.cfg.DataDir)
	if err != nil && !errors.Is(err, qemu.ErrNotKept) && ctx.Err() == nil {
		m.cfg.Log.Warn("cannot tell whether KVM works", "err", err)
		return
	}
	if errors.Is(err, qemu.ErrNotKept) {
		m.cfg.Log.Warn("the next start has to find out again whether KVM works: make the data directory writable", "err", err)
	}
	if ctx.Err() == nil && !v.KVM {
		m.cfg.Log.Info("sandboxes are emulated: KVM does not work here", "why", v.Reason)
	}
}

// Proxy returns a proxy for the manager's sandboxes, which forgets each when
// it is gone. What else it is told stands in cfg. It is closed with the manager.
func (m *Manager) Proxy(cfg proxy.Config) (*proxy.Proxy, error) {
	cfg.MaxOpen, cfg.Named = maxOpen(), true
	setDefault(&cfg.MaxConnections, maxConnections())
	setDefault(&cfg.ConnectRate, connectRate)
	cfg.Resolve, cfg.Paired, cfg.Heard, cfg.Log = m.Resolve, m.teller.Tell, m.teller.Heard, m.cfg.Log
	p, err := proxy.New(cfg)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.proxies = append(m.proxies, p)
	return p, nil
}

func (m *Manager) closeProxies() error {
	m.mu.Lock()
	proxies := slices.Clone(m.proxies)
	m.mu.Unlock() // or they might wait for it, and we for them
	var errs []error
	for _, p := range proxies {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Connections returns what proxy and relay have counted of one sandbox, or with "" of
// all: the proxy of those that were asked for lately, the relay of those that it
// listens for.
func (m *Manager) Connections(id string) []conns.Stats {
	proxies, ids := m.layers()
	all := []conns.Stats{}
	for _, p := range proxies {
		all = append(all, p.Stats(id)...)
	}
	counts, open := make(map[string]stream.Stats), make(map[string][]stream.Connection)
	for _, s := range m.relay.Snapshot() {
		if of, ok := ids[s.Netns]; ok && (id == "" || id == of) {
			add(counts, of, s.Stats)
		}
	}
	for _, c := range m.relay.Connections("") {
		of := ids[c.Netns]
		open[of] = append(open[of], c)
	}
	for of, s := range counts {
		all = append(all, conns.Of(conns.Relay, of, s, open[of]))
	}
	conns.Sort(all)
	return all
}

// layers returns the proxies, and the sandboxes by the namespace that the relay
// listens in for them.
func (m *Manager) layers() (proxies []*proxy.Proxy, ids map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids = make(map[string]string, len(m.byID))
	for id, i := range m.byID {
		ids[i.slot.Netns()] = id
	}
	return slices.Clone(m.proxies), ids
}

// Layers returns what proxies and relay have counted.
func (m *Manager) Layers() []metrics.Layer {
	proxies, ids := m.layers()
	ofProxies := metrics.Layer{Name: conns.Proxy, BySandbox: make(map[string]stream.Stats)}
	for _, p := range proxies {
		of, gone := p.Counts()
		for id, s := range of {
			add(ofProxies.BySandbox, id, s)
		}
		ofProxies.Gone.Add(gone)
	}
	ofRelay := metrics.Layer{Name: conns.Relay, BySandbox: make(map[string]stream.Stats), Gone: m.relay.Gone()}
	for _, s := range m.relay.Snapshot() {
		if id, ok := ids[s.Netns]; ok {
			add(ofRelay.BySandbox, id, s.Stats)
		} else { // it is being removed
			ofRelay.Gone.Add(s.Stats)
		}
	}
	return []metrics.Layer{ofProxies, ofRelay}
}

func add(to map[string]stream.Stats, id string, s stream.Stats) {
	sum := to[id]
	sum.Add(s)
	to[id] = sum
}

// Get returns a sandbox, or ErrNotFound.
func (m *Manager) Get(id string) (Sandbox, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.byID[id]
	if !ok {
		return Sandbox{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return i.snap, nil
}

// List returns all sandboxes, the oldest first, also those that boot or failed.
func (m *Manager) List() []Sandbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Sandbox, 0, len(m.byID))
	for _, i := range m.byID {
		list = append(list, i.snap)
	}
	slices.SortFunc(list, func(a, b Sandbox) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return list
}

// Relays returns what the relay has counted, by route.
func (m *Manager) Relays() []relay.Stats { return m.relay.Snapshot() }

// End begins the end of every sandbox and lets no other come. When it returns, agents
// can know of it: what else of the path goes from then on is no fault.
func (m *Manager) End() {
	m.mu.Lock()
	m.closed = true
	all := slices.Collect(maps.Values(m.byID))
	m.mu.Unlock()
	for _, i := range all {
		m.remove(i)
	}
}

// Close kills every sandbox and removes all that the manager made. It returns
// after closeTime with an error where something does not go.
func (m *Manager) Close() error {
	m.stop()
	m.End()
	done := make(chan error, 1)
	go func() {
		m.live.Wait()
		err := errors.Join(m.closeProxies(), m.relay.Close(), m.pool.Close())
		removeIfEmpty(m.cfg.RunDir)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(closeTime):
		return fmt.Errorf("close launcher: not all was removed within %v: run tapwatch cleanup once this process has ended", closeTime)
	}
}
