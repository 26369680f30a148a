// Package stream is the engine of the data path: it passes bytes between TCP
// connections, for all slots of a host in one process. A few epoll loops own all
// sockets; a connection has two of them, some 400 bytes, and no goroutine.
//
// What one side does the other side sees: an end of the stream as an end, in
// each direction by itself, and a reset as a reset.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed is returned by an engine that was closed.
var ErrClosed = errors.New("the data path is closed")

// Config says how connections are treated. The zero value works.
type Config struct {
	// Loops that carry connections; 0 means one for each of GOMAXPROCS. A process
	// that does little else gives the runtime places to spare: with GOMAXPROCS at
	// twice the loops they wait without telling it, which is quicker.
	Loops int
	// MaxOpen is how many connections there may be in all: others wait in the backlog;
	// 0 means as many as there are files for.
	MaxOpen int
	Pipes   int // the most pipes (2 files each) held for splicing; 0 means 64 a loop
	Log     *slog.Logger

	DialTimeout time.Duration // 0 means 10 s
	// HeadTimeout is how long a client may take until a handler's verdict lets its
	// first bytes pass; 0 means 10 s.
	HeadTimeout time.Duration
	KeepAlive   time.Duration // between probes on an idle leg; 0 means 15 s
	// UserTimeout ends a leg whose peer has vanished; 0 means 2 min, which a guest
	// that is paused for a minute outlives. A peer that is there and does not read
	// is never ended by it; to see that takes time, so that at least 3 s are asked for.
	UserTimeout time.Duration
	// Buffer bounds what the kernel queues for a leg in each direction, in bytes; 0
	// means 1 MiB, and below 0 the kernel's own limits (up to 32 MiB) hold.
	Buffer int
	// Congestion control of both legs; "" means cubic: what suits the internet
	// (bbr) costs two thirds of the bulk on a link within the host.
	Congestion string
	// Paired, where it is set, is told the cookies of both sockets of a connection
	// (SO_COOKIE) each time that it gets a backend, before the backend's socket
	// connects and anything is moved. It is called on the loops, which it must not
	// keep waiting.
	Paired func(front, back uint64)
	// Heard says whether anybody hears what Paired is told: where not, the kernel is
	// not asked for cookies. nil means always.
	Heard func() bool
}

// leastUserTimeout leaves time to see that a peer only does not read.
const leastUserTimeout = 3 * sweepEvery

func (c *Config) validate() error {
	for _, v := range []struct {
		name string
		v    int64
	}{
		{"loops", int64(c.Loops)}, {"pipes", int64(c.Pipes)}, {"open connections", int64(c.MaxOpen)}, {"dial timeout", int64(c.DialTimeout)}, {"head timeout", int64(c.HeadTimeout)},
		{"keep-alive", int64(c.KeepAlive)}, {"user timeout", int64(c.UserTimeout)},
	} {
		if v.v < 0 {
			return fmt.Errorf("%s is below 0", v.name)
		}
	}
	if c.UserTimeout != 0 && c.UserTimeout < leastUserTimeout {
		return fmt.Errorf("user timeout %v is below %v", c.UserTimeout, leastUserTimeout)
	}
	setDefault(&c.Loops, runtime.GOMAXPROCS(0))
	setDefault(&c.Pipes, 64*c.Loops)
	setDefault(&c.DialTimeout, 10*time.Second)
	setDefault(&c.HeadTimeout, 10*time.Second)
	setDefault(&c.KeepAlive, 15*time.Second)
	setDefault(&c.UserTimeout, 2*time.Minute)
	setDefault(&c.Buffer, 1<<20)
	setDefault(&c.Congestion, "cubic")
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Engine runs the loops. All methods of it, of its listeners and of its targets
// may be called concurrently.
type Engine struct {
	cfg   Config
	loops []*loop
	pipes atomic.Int64 // held by all loops

	complained atomic.Int64 // when it last logged that it has no files, as time since its start; at the start it has not
	open       atomic.Int64 // connections
	spare      bool         // the runtime has a place for each loop, and as many for others
	start      time.Time

	mu        sync.Mutex
	listeners map[*Listener]struct{}
	unused    []int32 // indexes below the highest that was given
	targets   map[*Target]struct{}
	closed    bool
	running   sync.WaitGroup
}

// New starts an engine without listeners.
func New(cfg Config) (*Engine, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("start data path: %w", err)
	}
	e := &Engine{
		cfg: cfg, start: time.Now(), spare: runtime.GOMAXPROCS(0) >= 2*cfg.Loops,
		listeners: make(map[*Listener]struct{}), targets: make(map[*Target]struct{}),
	}
	e.complained.Store(int64(-complainEvery))
	for i := range cfg.Loops {
		l, err := newLoop(e, i)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start data path: %w", err), e.Close())
		}
		e.loops = append(e.loops, l)
		started := make(chan error)
		e.running.Go(func() { l.run(started) })
		if err := <-started; err != nil {
			return nil, errors.Join(fmt.Errorf("start data path: %w", err), e.Close())
		}
	}
	return e, nil
}

// now is the time since the engine started, monotonic.
func (e *Engine) now() time.Duration { return time.Since(e.start) }

// Log is where the engine says what went wrong.
func (e *Engine) Log() *slog.Logger { return e.cfg.Log }

// Open is how many connections there are.
func (e *Engine) Open() int { return int(e.open.Load()) }

// Drain stops listening and returns when the last connection has ended, or with
// an error when ctx ends; connections are then left as they are.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	listeners := keys(e.listeners)
	e.mu.Unlock()
	for _, l := range listeners {
		l.Stop()
	}
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for e.Open() > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain: %d connections are left: %w", e.Open(), context.Cause(ctx))
		case <-poll.C:
		}
	}
	return nil
}

// Close stops listening, cuts every connection, and returns when nothing is left.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	listeners, targets := keys(e.listeners), keys(e.targets)
	e.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	for _, t := range targets {
		t.Close()
	}
	for _, l := range e.loops {
		l.stop()
	}
	e.running.Wait()
	return nil
}

// each runs fn on every loop and returns when all are through.
func (e *Engine) each(fn func(*loop)) {
	var done sync.WaitGroup
	for _, l := range e.loops {
		done.Add(1)
		if !l.do(func() { fn(l); done.Done() }) {
			done.Done() // it has stopped, and holds nothing
		}
	}
	done.Wait()
}

func keys[K comparable](m map[K]struct{}) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}
