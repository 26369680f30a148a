package stream

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

const (
	batch      = 256      // events taken at once
	bufferSize = 64 << 10 // of one read
	sweepEvery = time.Second
)

// Kinds of what an event is for; legs are kind 0 (client) and 1 (backend).
const (
	kindListener = 2
	kindWake     = 3
	kindBits     = 2
)

// loop owns a part of all connections. But for its tasks, everything in it is
// touched by its own goroutine alone.
type loop struct {
	engine *Engine
	id     int
	ep     int // epoll
	wake   int // eventfd
	thread *netns.Thread

	busy   bool          // events came at the last wait
	now    time.Duration // when the last events were taken
	events [batch]unix.EpollEvent
	buf    [bufferSize]byte

	slots     []*Conn // by index in events; those not in use too
	free      *Conn
	conns     int
	listeners []*Listener // by index in events
	resting   []*Listener // taken out of epoll for want of files
	retry     []ready     // wait for a file to dial with
	restUntil time.Duration
	round     uint64   // of events
	gens      uint32   // of legs
	parties   []*party // that have events left
	room      []*party // for the next of them
	nowhere   party    // of connections without a target
	dialing   list     // the oldest first
	closing   list     // answered, and waiting for the client to see it, the oldest first
	swept     time.Duration
	pipes     pipes
	spare     [][]byte // rooms

	unsampled int
	info      unix.TCPInfo

	mu      sync.Mutex
	tasks   []func()
	stopped bool
}

// ready is a side of a connection that has more to give.
type ready struct {
	conn *Conn
	gen  uint32
	from Side
}

func newLoop(e *Engine, id int) (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(ep)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	l := &loop{engine: e, id: id, ep: ep, wake: wake, restUntil: never, pipes: pipes{engine: e, most: max(1, e.cfg.Pipes/e.cfg.Loops)}}
	if errno := epollAdd(ep, int32(wake), unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Pad: kindWake}); errno != 0 {
		unix.Close(ep)
		unix.Close(wake)
		return nil, fmt.Errorf("watch eventfd: %w", errno)
	}
	return l, nil
}

// run is the loop's goroutine.
func (l *loop) run(started chan<- error) {
	defer unix.Close(l.ep)
	defer unix.Close(l.wake)
	var err error
	l.thread, err = netns.Lock() // for good: it dials inside namespaces
	started <- err
	if err != nil {
		return
	}
	defer l.thread.Unlock()
	defer l.pipes.close()
	for {
		n := l.wait()
		l.now = l.engine.now()
		l.round++
		for i := range n {
			l.dispatch(&l.events[i])
		}
		l.takeTurns()
		if l.now >= l.nextDue() {
			l.expire()
		}
		if l.stopped { // read without mu: only our own task sets it
			l.runTasks() // those that came before it did
			return
		}
	}
}

// wait waits for events. Where some came lately more will soon, and if it has
// places to spare the runtime is not told of the wait: it would look for other
// work for this thread's place, and wake threads to do so, some thousand times a
// second.
func (l *loop) wait() int {
	patience := l.patience()
	if patience == 0 {
		return epollWaitUntold(l.ep, l.events[:], 0)
	}
	if l.busy && l.engine.spare {
		if n := epollWaitUntold(l.ep, l.events[:], 1); n > 0 {
			return n
		}
		patience = l.patience()
	}
	n := epollWait(l.ep, l.events[:], patience)
	l.busy = n > 0
	return n
}

func (l *loop) dispatch(ev *unix.EpollEvent) {
	kind, gen := ev.Pad&(1<<kindBits-1), uint32(ev.Pad)>>kindBits
	switch kind {
	case kindWake:
		l.runTasks()
	case kindListener:
		if ln := l.listeners[ev.Fd]; ln != nil {
			l.acceptAll(ln)
		}
	default:
		l.serve(event{l.slots[ev.Fd], gen, Side(kind), ev.Events})
	}
}

// patience is how long to wait for events, in ms; -1 is for ever.
func (l *loop) patience() int {
	if len(l.parties) > 0 {
		return 0
	}
	due := l.nextDue()
	if due == never {
		return -1
	}
	wait := due - l.now // as it was before this round: a clock costs as much as a short call, and no deadline is as exact
	if wait <= 0 {
		return 0
	}
	return int(wait/time.Millisecond) + 1
}

// do has fn run on the loop; false says that the loop has stopped.
func (l *loop) do(fn func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return false
	}
	l.tasks = append(l.tasks, fn)
	if len(l.tasks) == 1 {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(l.wake, one[:]) // its counter cannot be full
	}
	return true
}

func (l *loop) runTasks() {
	var count [8]byte
	_, _ = unix.Read(l.wake, count[:]) // what it counts is of no interest
	l.mu.Lock()
	tasks := l.tasks
	l.tasks = nil
	l.mu.Unlock()
	for _, fn := range tasks {
		fn()
	}
}

// stop ends the loop and cuts what connections it has.
func (l *loop) stop() {
	l.do(func() {
		l.cut(func(*Conn) bool { return true })
		l.mu.Lock()
		l.stopped = true
		l.mu.Unlock()
	})
}
