package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/firecracker"
	"tapwatch/agent/path"
	"tapwatch/agent/prober"
	"tapwatch/bpf"
)

const (
	// lookPatience is how long namespaces and links may take to be read.
	lookPatience = time.Minute
	// lookAtOnce is how many slots are looked at at a time.
	lookAtOnce = 32
)

// Look reads the kernel once, where no agent runs, and returns every slot as it
// then is. It puts no hooks on taps, so nothing is known of their traffic; each
// sandbox's envd is asked for its health instead, once. Of the configuration
// RunDir, Proxy, TemplateCache and Log count.
func Look(ctx context.Context, cfg Config) (_ []path.Slot, err error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	cfg.NoHops = true // nobody waits for requests
	if err := needPrivileges(cfg.AttachMode); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg}
	defer func() { err = errors.Join(err, a.Close()) }()
	defer bpf.KeepTypes()() // as New does
	if err := a.load(true); err != nil {
		return nil, err
	}
	if err := a.wire(); err != nil {
		return nil, err
	}
	a.model.noHooks = true
	ctx, stop := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() { stop(); err = errors.Join(err, g.Wait()) }()
	g.Go(func() error { return a.discover.Run(ctx) })
	g.Go(func() error { return a.links.Run(ctx) })
	g.Go(func() error { return a.watch(ctx) })
	if err := a.untilReady(ctx); err != nil {
		return nil, err
	}
	a.lookAtAll(ctx)
	return a.Slots(), ctx.Err()
}

// readTemplatesOnce reads what the slots boot from, unless a store hangs.
func (a *Agent) readTemplatesOnce(bound []*slot) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		known := map[string]*path.Template{}
		for _, s := range bound {
			dir := s.entry.Binding.TemplateDir // an entry is never changed
			if dir == "" {
				continue
			}
			if _, ok := known[dir]; !ok {
				known[dir] = readTemplate(dir, a.cfg.TemplateCache)
			}
			a.model.templateIs([]*slot{s}, known[dir])
		}
	}()
	select {
	case <-read:
	case <-time.After(prober.Patience):
	}
}

func (a *Agent) untilReady(ctx context.Context) error {
	for end := time.Now().Add(lookPatience); ; {
		err := a.Ready()
		if err == nil && a.applied() && a.Ready() == nil {
			return nil
		}
		if err == nil {
			err = errors.New("what was found has not been taken in yet")
		}
		if time.Now().After(end) {
			return fmt.Errorf("look at the host: %w", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// applied says whether the model has every slot that discovery has found: it is
// told of them one by one.
func (a *Agent) applied() bool {
	found := a.discover.Snapshot()
	a.model.mu.Lock()
	defer a.model.mu.Unlock()
	for _, e := range found {
		s := a.model.slots[e.Cookie]
		if (s != nil) != (e.Binding != nil) || s != nil && s.entry.Binding != e.Binding {
			return false
		}
	}
	return true
}

// lookAtAll reads, once, what the goroutines of an agent that stays read now and
// then.
func (a *Agent) lookAtAll(ctx context.Context) {
	m := a.model
	m.readListeners(a.cfg.Proxy)
	var bound []*slot
	m.eachBound(func(s *slot) { bound = append(bound, s) })
	a.holding.read(bound)
	a.readTemplatesOnce(bound)
	var early questions // of sandboxes that booted then
	var g errgroup.Group
	g.SetLimit(lookAtOnce)
	for _, s := range bound {
		m.mu.Lock()
		t, id, carrier := targetOf(s), s.entry.Binding.SandboxID, s.tap != nil && carrierOf(s.tap) == path.Yes
		booting := s.booting()
		s.look()
		m.mu.Unlock()
		g.Go(func() error {
			c, _ := a.inspector.patiently(t, a.inspector.look)
			m.inspected(t, c)
			if t.socket != "" && t.pid != 0 {
				m.apiIs(t, firecracker.Ask(ctx, t.pid, t.socket))
			}
			if carrier && t.path != "" && t.guest.IsValid() {
				q := question{target: t, way: atTap, id: id}
				m.healthIs(q, a.health.ask(ctx, q))
				if booting {
					early.add(q)
				}
			}
			return nil
		})
	}
	_ = g.Wait() // nobody returns an error
	for _, q := range early.list {
		m.mu.Lock()
		booting := q.slot.booting()
		m.mu.Unlock()
		if !booting { // it has come up since: what it said before counts no more
			g.Go(func() error { m.healthIs(q, a.health.ask(ctx, q)); return nil })
		}
	}
	_ = g.Wait()
	if m.anyQueueFull() { // for a moment, or for longer?
		select {
		case <-ctx.Done():
		case <-time.After(diagnose.Patience):
			m.readListeners(a.cfg.Proxy)
		}
	}
	m.each(func(s *slot) { m.diagnose(s, time.Now()) })
}

// questions collects those that several goroutines ask.
type questions struct {
	mu   sync.Mutex
	list []question
}

func (q *questions) add(one question) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, one)
}

// booting says whether the slot's sandbox is on its way up.
func (s *slot) booting() bool {
	b := s.entry.Binding
	return !b.Idle && sandbox(b, time.Now()).Booting
}

func (m *model) anyQueueFull() bool {
	full := false
	m.eachBound(func(s *slot) { full = full || !s.relay.Queue.FullSince.IsZero() })
	m.mu.Lock()
	defer m.mu.Unlock()
	return full || !m.proxy.Queue.FullSince.IsZero()
}
