package guest

import (
	"sync"

	pb "tapwatch/internal/sandbox/envd/proto/process"
)

// fanout hands each event of a process to everyone who listens at that time. A
// slow listener holds the process back, as a pipe would; without any, output
// is dropped.
type fanout struct {
	mu        sync.Mutex
	listeners map[*listener]struct{}
	end       *pb.ProcessEvent // set once the process has ended
}

// listener receives events until it leaves; the last one is an end event.
type listener struct {
	events chan *pb.ProcessEvent
	gone   chan struct{}
	once   sync.Once
	from   *fanout
}

// listen joins. Who comes too late gets the end event alone.
func (f *fanout) listen() *listener {
	// One place for the end event, so that ending never waits for a listener.
	l := &listener{events: make(chan *pb.ProcessEvent, 1), gone: make(chan struct{}), from: f}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end != nil {
		l.events <- f.end
		return l
	}
	if f.listeners == nil {
		f.listeners = map[*listener]struct{}{}
	}
	f.listeners[l] = struct{}{}
	return l
}

// leave may be called more than once.
func (l *listener) leave() {
	l.once.Do(func() {
		close(l.gone)
		l.from.mu.Lock()
		delete(l.from.listeners, l)
		l.from.mu.Unlock()
	})
}

// current returns who listens now.
func (f *fanout) current() []*listener {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*listener, 0, len(f.listeners))
	for l := range f.listeners {
		all = append(all, l)
	}
	return all
}

// publish delivers to everyone who listens now and waits until they took it or left.
func (f *fanout) publish(e *pb.ProcessEvent) {
	for _, l := range f.current() {
		select {
		case l.events <- e:
		case <-l.gone:
		}
	}
}

// finish publishes the end event, now and to everyone who comes later.
func (f *fanout) finish(e *pb.ProcessEvent) {
	f.mu.Lock()
	f.end = e
	f.mu.Unlock()
	f.publish(e)
}
