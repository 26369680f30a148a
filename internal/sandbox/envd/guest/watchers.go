package guest

import (
	"fmt"
	"strconv"
	"sync"

	"connectrpc.com/connect"

	pb "tapwatch/internal/sandbox/envd/proto/filesystem"
)

const (
	maxWatchers = 100   // that clients have not removed
	maxEvents   = 10000 // that a client has not come for, of one watcher
)

// watchers are those whose events are kept until a client comes for them.
type watchers struct {
	mu   sync.Mutex
	byID map[string]*watcher
	last int
}

type watcher struct {
	dir *directory

	mu     sync.Mutex
	events []*pb.FilesystemEvent
	err    error // why some are lost; told once
}

// add collects a directory's events under a new id. It fails where clients have
// left too many behind.
func (w *watchers) add(d *directory) (id string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.byID) >= maxWatchers {
		return "", connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("%d watchers already: remove those not needed", maxWatchers))
	}
	if w.byID == nil {
		w.byID = map[string]*watcher{}
	}
	w.last++
	id = "w" + strconv.Itoa(w.last)
	one := &watcher{dir: d}
	w.byID[id] = one
	go one.collect()
	return id, nil
}

func (w *watchers) find(id string) (*watcher, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one, ok := w.byID[id]
	if !ok {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("no such watcher: %q", id))
	}
	return one, nil
}

// take returns the events so far and forgets them, or, once, why some were lost.
func (w *watchers) take(id string) ([]*pb.FilesystemEvent, error) {
	one, err := w.find(id)
	if err != nil {
		return nil, err
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	events, err := one.events, one.err
	one.events, one.err = nil, nil
	if err != nil {
		return nil, connect.NewError(connect.CodeDataLoss, err)
	}
	return events, nil
}

func (w *watchers) remove(id string) error {
	one, err := w.find(id)
	if err != nil {
		return err
	}
	w.mu.Lock()
	delete(w.byID, id)
	w.mu.Unlock()
	one.dir.close()
	return nil
}

func (w *watchers) closeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.byID {
		one.dir.close()
	}
	w.byID = nil
}

// collect ends when the directory's watch is closed.
func (w *watcher) collect() {
	for {
		select {
		case n, ok := <-w.dir.notify.Events:
			if !ok {
				return
			}
			events, err := w.dir.events(n)
			w.keep(events, err)
		case err, ok := <-w.dir.notify.Errors:
			if !ok {
				return
			}
			w.keep(nil, lost(err))
		}
	}
}

func (w *watcher) keep(events []*pb.FilesystemEvent, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, events...)
	if len(w.events) > maxEvents {
		w.events, err = nil, errOverflow
	}
	if err != nil {
		w.err = err
	}
}
