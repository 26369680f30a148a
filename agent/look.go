package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/firecracker"
	"tapwatch/agent/path"
	"tapwatch/agent/prober"
	"tapwatch/agent/slots"
	"tapwatch/bpf"
)

const (
	// lookPatience is how long namespaces and links may take to be read.
	lookPatience = time.Minute
	// lookAtOnce is how many sandboxes are looked at at a time.
	lookAtOnce = 32
)

// Look reads the kernel once, where no agent runs, and returns every tap as it then
// is. It puts no hooks on taps, so nothing is known of their traffic; each sandbox's
// envd is asked for its health instead, once. Of the configuration RunDir, Proxy,
// TemplateCache, the rules and Log count.
func Look(ctx context.Context, cfg Config) (_ []path.Slot, err error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	cfg.NoHops, cfg.once = true, true // nobody waits for requests
	if err := needPrivileges(cfg.AttachMode); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg}
	defer func() { err = errors.Join(err, a.Close()) }()
	defer bpf.ShareTypes()() // as New does
	if err := a.load(); err != nil {
		return nil, err
	}
	if err := a.wire(); err != nil {
		return nil, err
	}
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

func (a *Agent) untilReady(ctx context.Context) error {
	for end := time.Now().Add(lookPatience); ; {
		err := a.Ready()
		if err == nil && a.slots.Took(a.found()) && a.Ready() == nil {
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

// found is what discovery and the links have, for slots to compare: it hears of them
// one by one.
func (a *Agent) found() (all []slots.Found) {
	for _, e := range a.discover.Snapshot() {
		f := slots.Found{Cookie: e.Cookie, Claims: len(e.VMMs), Planned: e.Slot != nil}
		taps, _ := a.links.Taps(e.Cookie)
		for _, l := range taps {
			f.Taps = append(f.Taps, l.Key())
		}
		all = append(all, f)
	}
	return all
}

// lookAtAll reads, once, what the workers of an agent that stays read now and then.
func (a *Agent) lookAtAll(ctx context.Context) {
	a.holding.read(a.slots.Taps())
	a.judge.all()
	for _, t := range a.slots.Bound(nil) {
		a.inspector.learnTopology(t)
	}
	a.listeners.read()
	bound := a.slots.Bound(nil)
	a.readTemplatesOnce(bound)
	a.inspector.readConsoles(bound)
	early := make(chan slots.Question, len(bound)) // of sandboxes that booted then
	var g errgroup.Group
	g.SetLimit(lookAtOnce)
	for _, t := range bound {
		a.vmms.look(t)
		g.Go(func() error {
			a.inspector.look(t)
			if t.Socket != "" && t.VMM.PID != 0 {
				a.slots.TakeAPI(t, firecracker.Ask(ctx, t.VMM.PID, t.Socket))
			}
			if q := (slots.Question{Target: t, Way: slots.AtTap}); t.Carrier == path.Yes && t.Path != "" && t.Addrs.Guest.IsValid() && t.Key.Claim == 0 && !a.slots.Paused(t) {
				a.slots.TakeAnswer(q, a.health.ask(ctx, q), 0, false)
				if t.Booting {
					early <- q
				}
			}
			return nil
		})
	}
	_ = g.Wait() // nobody returns an error
	close(early)
	for q := range early {
		now := a.slots.Targets(q.Key)
		if len(now) > 0 && !now[0].Booting { // it has come up since: what it said before counts no more
			g.Go(func() error { a.slots.TakeAnswer(q, a.health.ask(ctx, q), 0, false); return nil })
		}
	}
	_ = g.Wait()
	if a.slots.AnyQueueFull() { // for a moment, or for longer?
		select {
		case <-ctx.Done():
		case <-time.After(diagnose.Patience):
			a.listeners.read()
		}
	}
	a.slots.Tick(0, time.Now())
	a.judge.all()
}

// readTemplatesOnce reads what the sandboxes boot from, unless a store hangs.
func (a *Agent) readTemplatesOnce(bound []slots.Target) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		for dir, of := range lacking(bound, map[string]*templateReading{}) {
			a.slots.TakeTemplate(of, readTemplate(dir, a.cfg.TemplateCache))
		}
	}()
	select {
	case <-read:
	case <-time.After(prober.Patience):
	}
}
