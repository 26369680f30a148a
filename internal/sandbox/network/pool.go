package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// ErrClosed is returned by a pool that was closed.
var ErrClosed = errors.New("slot pool is closed")

// PoolConfig says how many slots to keep and where to record them.
type PoolConfig struct {
	Registry registry.Dir // "" means registry.DefaultDir
	Idle     int          // slots kept ready; 0 means that each is made when asked for
	First    int          // lowest index to use; 0 means 1
	Log      *slog.Logger // nil means slog.Default()
}

func (c *PoolConfig) validate() error {
	if c.Registry == "" {
		c.Registry = registry.DefaultDir
	}
	if c.First == 0 {
		c.First = 1
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Idle < 0 {
		return fmt.Errorf("idle slots: %d is below 0", c.Idle)
	}
	return Slot{c.First}.validate()
}

// Pool makes slots ahead of their use and records each in the registry before
// it exists, so that whatever happens somebody can find it. All methods may be
// called concurrently.
type Pool struct {
	cfg   PoolConfig
	owner proc.Process
	hosts hostNets // whose addresses no slot takes

	mu      sync.Mutex
	records map[Slot]registry.Slot // all that are ours, also while being made
	idle    []Slot
	closed  bool

	refill chan struct{} // holds one token: look whether slots are missing
	done   chan struct{} // closed with the pool
	making sync.WaitGroup
}

// NewPool starts to fill a pool in the background. It fails where this process
// cannot make slots at all.
func NewPool(cfg PoolConfig) (*Pool, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := Check(); err != nil {
		return nil, err
	}
	owner, err := proc.ProcessOf(os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("start slot pool: %w", err)
	}
	if err := guardHost(); err != nil {
		return nil, fmt.Errorf("start slot pool: %w", err)
	}
	hosts, err := hostNetworks()
	if err != nil {
		return nil, fmt.Errorf("start slot pool: %w", err)
	}
	if err := hosts.leave(cfg.First); err != nil {
		return nil, fmt.Errorf("start slot pool: %w", err)
	}
	p := &Pool{
		cfg: cfg, hosts: hosts, owner: owner,
		records: make(map[Slot]registry.Slot),
		refill:  make(chan struct{}, 1), done: make(chan struct{}),
	}
	p.making.Go(p.keepFilled)
	p.wantMore()
	return p, nil
}

// Acquire returns an idle slot, or makes one where there is none. It is the
// caller's until Release.
func (p *Pool) Acquire(ctx context.Context) (Slot, error) {
	if err := ctx.Err(); err != nil {
		return Slot{}, fmt.Errorf("acquire slot: %w", err)
	}
	defer p.wantMore()
	if s, ok := p.takeIdle(); ok {
		return s, nil
	}
	return p.make()
}

// takeIdle returns the slot that has been idle for longest. One whose namespace
// somebody else has removed meanwhile is given up, and the next one is tried.
func (p *Pool) takeIdle() (Slot, bool) {
	for {
		p.mu.Lock()
		if len(p.idle) == 0 {
			p.mu.Unlock()
			return Slot{}, false
		}
		s := p.idle[0]
		p.idle = p.idle[1:]
		want := p.records[s].Cookie
		p.mu.Unlock()
		got, err := netns.CookieOf(s.Netns())
		if err == nil && got == want {
			return s, true
		}
		p.cfg.Log.Warn("idle slot is broken, removing it", "netns", s.Netns(), "err", err)
		if err := p.Release(s); err != nil {
			p.cfg.Log.Error("broken slot stays", "netns", s.Netns(), "err", err)
		}
	}
}

// Bind records the sandbox that a slot is for, at each change of its state; nil
// says that the slot is bound to none.
func (p *Pool) Bind(s Slot, sandbox *registry.Sandbox) error {
	return p.change(s, func(r *registry.Slot) { r.Sandbox = sandbox })
}

// Release gives a slot up and returns when nothing of it remains. It is always
// removed, never used again: a new one costs 3 ms, made ahead of its use, and
// brings no old connections, neighbours or conntrack entries along. Reuse, where
// that is ever worth it, belongs here.
func (p *Pool) Release(s Slot) error {
	p.mu.Lock()
	r, ours := p.records[s]
	p.mu.Unlock()
	if !ours {
		return nil
	}
	if _, err := RemoveOwned(r); err != nil {
		return err // the record stays: cleanup finds it
	}
	return p.forget(s)
}

// Close stops filling and removes every slot of the pool, also those not released.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.done)
	p.mu.Unlock()
	p.making.Wait()

	p.mu.Lock()
	all := slices.Collect(maps.Keys(p.records))
	p.idle = nil
	p.mu.Unlock()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() { errs[i] = p.Release(s) })
	}
	wg.Wait()
	_, err := RemoveGuards()
	return errors.Join(errors.Join(errs...), err)
}

// Idle returns how many slots are ready now.
func (p *Pool) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

func (p *Pool) wantMore() {
	select {
	case p.refill <- struct{}{}:
	default: // a look is due already
	}
}

// keepFilled makes slots while some are missing. After a failure it waits: what
// made the first slot fail will most likely make the next one fail too.
func (p *Pool) keepFilled() {
	for {
		select {
		case <-p.done:
			return
		case <-p.refill:
		}
		for p.lacks() {
			s, err := p.make()
			if errors.Is(err, ErrClosed) {
				return
			}
			if err != nil {
				p.cfg.Log.Error("cannot fill the slot pool", "err", err)
				time.AfterFunc(time.Second, p.wantMore)
				break
			}
			p.mu.Lock()
			p.idle = append(p.idle, s)
			p.mu.Unlock()
		}
	}
}

func (p *Pool) lacks() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closed && len(p.idle) < p.cfg.Idle
}
