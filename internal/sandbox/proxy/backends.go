package proxy

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"tapwatch/internal/sandbox/stream"
)

// maxTargets bounds the ports of one sandbox that are known at once; those that
// nobody has a connection to go first.
const maxTargets = 256

var errTooManyPorts = errors.New("the sandbox has connections on 256 ports already")

// backends is what is known of sandboxes. Its lock is taken on the loops, so that
// nobody who has it may wait for them.
type backends struct {
	cfg    Config
	engine *stream.Engine

	mu     sync.Mutex
	byID   map[string]*backend
	kept   map[routeKey]*way
	asking map[*question]struct{}
	gone   stream.Stats // of sandboxes that were forgotten
}

type routeKey struct {
	id   string
	port int
}

// backend is one sandbox.
type backend struct {
	id    string
	open  atomic.Int64 // requests, and connections that are no HTTP
	quota *stream.Quota

	// Guarded by backends.mu:
	targets map[place]*stream.Target
	former  stream.Stats // of targets that were closed
}

type place struct {
	netns string
	addr  netip.AddrPort
}

// way is how one port of a sandbox is reached.
type way struct {
	Target
	to     *backend
	stream *stream.Target
}

func newBackends(cfg Config, engine *stream.Engine) *backends {
	return &backends{
		cfg: cfg, engine: engine,
		byID: make(map[string]*backend), kept: make(map[routeKey]*way), asking: make(map[*question]struct{}),
	}
}

// known returns the way that was found before, if the resolver lets it be kept.
func (b *backends) known(id string, port int) *way {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept[routeKey{id, port}]
}

// question is one that a resolver is asked.
type question struct {
	key    routeKey
	cancel context.CancelFunc
	stale  bool // guarded by backends.mu: the sandbox has gone since
	answer atomic.Pointer[found]
}

type found struct {
	way *way
	err error
}

// ask has the resolver find a way, which the question's answer then is, and calls
// told.
func (b *backends) ask(id string, port int, told func()) *question {
	ctx, cancel := context.WithCancel(context.Background())
	q := &question{key: routeKey{id, port}, cancel: cancel}
	b.mu.Lock()
	b.asking[q] = struct{}{}
	b.mu.Unlock()
	go func() {
		defer cancel()
		w, err := b.find(ctx, q)
		b.mu.Lock()
		delete(b.asking, q)
		b.mu.Unlock()
		q.answer.Store(&found{w, err})
		told()
	}()
	return q
}

func (b *backends) find(ctx context.Context, q *question) (*way, error) {
	for {
		b.mu.Lock()
		q.stale = false
		b.mu.Unlock()
		t, err := b.cfg.Resolve(ctx, q.key.id, q.key.port)
		if errors.Is(err, ErrUnknownSandbox) && q.key.id != "" {
			b.forget(q.key.id)
		}
		if err != nil {
			return nil, err
		}
		w, unused, err := b.way(q, t)
		if unused != nil {
			unused.Close()
		}
		if w != nil || err != nil {
			return w, err
		}
	}
}

// way makes the way to a target. It returns none where the sandbox has gone since
// it was asked for, and what is to be closed for it.
func (b *backends) way(q *question, t Target) (w *way, unused *stream.Target, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if q.stale {
		return nil, nil, nil
	}
	to := b.byID[t.SandboxID]
	if to == nil {
		to = &backend{id: t.SandboxID, targets: make(map[place]*stream.Target), quota: stream.NewQuota(b.cfg.MaxConnections, b.cfg.ConnectRate)}
		b.byID[t.SandboxID] = to
	}
	at := place{t.Netns, t.Addr}
	target := to.targets[at]
	if target == nil {
		if len(to.targets) >= maxTargets {
			if unused = b.evict(to); unused == nil {
				return nil, nil, errTooManyPorts
			}
		}
		if target, err = b.engine.Target(t.Netns, t.Addr); err != nil {
			return nil, unused, err
		}
		target.Limit(to.quota)
		to.targets[at] = target
	}
	w = &way{Target: t, to: to, stream: target}
	if t.Keep && q.key.id != "" {
		b.kept[q.key] = w
	}
	return w, unused, nil
}

// evict takes out a target that has no connections; mu is held.
func (b *backends) evict(to *backend) *stream.Target {
	for at, t := range to.targets {
		s := t.Stats()
		if s.Open > 0 {
			continue
		}
		delete(to.targets, at)
		to.former.Add(s)
		for key, w := range b.kept {
			if w.stream == t {
				delete(b.kept, key)
			}
		}
		return t
	}
	return nil
}

// unkeep has the resolver asked again for a port.
func (b *backends) unkeep(id string, port int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.kept, routeKey{id, port})
}

// forget cuts what leads to a sandbox, and returns when all is cut.
func (b *backends) forget(id string) {
	b.mu.Lock()
	to := b.byID[id]
	if to != nil {
		b.gone.Add(to.counts()) // at once, or sums would count backwards for a moment
	}
	delete(b.byID, id)
	for key, w := range b.kept {
		if w.to.id == id {
			delete(b.kept, key)
		}
	}
	for q := range b.asking {
		q.stale = q.stale || q.key.id == id || q.key.id == ""
	}
	b.mu.Unlock()
	if to == nil {
		return
	}
	for _, t := range to.targets { // nobody else has it any more
		t.Close()
	}
}

// enter begins a request, unless so many are open already.
func (b *backend) enter(limit int) bool {
	if b.open.Add(1) > int64(limit) {
		b.leave()
		return false
	}
	return true
}

func (b *backend) leave() { b.open.Add(-1) }
