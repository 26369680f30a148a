package discover

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"tapwatch/internal/netns"
)

// tasks is the work of the loop. Names and records are read after events as
// well; processes tell nothing by themselves.
type tasks struct {
	names     task // every name of netns.Dir
	dirty     task // those that events named, and those not ready
	records   task // every record
	rewritten task // those that events named
	procs     task // new and young processes
	full      task // every process
	merge     task // of all into entries
}

// never is the time between two runs of what only events ask for.
const never = 1000 * time.Hour

func (w *Watcher) loop(ctx context.Context) {
	w.work = tasks{
		names:     task{every: w.cfg.Every},
		dirty:     task{every: never, at: time.Now().Add(never)},
		records:   task{every: w.cfg.Every},
		rewritten: task{every: never, at: time.Now().Add(never)},
		procs:     task{every: w.cfg.Every, at: time.Now().Add(w.cfg.Every)},
		full:      task{every: w.cfg.FullEvery},
		merge:     task{every: w.cfg.FullEvery}, // whether processes live that nothing tells of
	}
	for _, t := range w.work.all() {
		t.rarely = w.cfg.rarely
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.rescan:
			w.work.procs.soon(time.Now())
		case <-w.reread:
			w.names.changed = true // names that are slots come first, by the rules
			w.learnNames()
			w.procs.again(time.Now())
			w.everything(time.Now())
		case id := <-w.nsids.gone:
			w.ended[id] = true
			w.work.names.soon(time.Now())
		case e := <-w.dirs.fs.Events:
			w.fileEvent(e, time.Now())
		case err := <-w.dirs.fs.Errors: // an overflow above all
			w.failed(err)
			w.everything(time.Now())
		}
		w.run(ctx, time.Now())
		timer.Reset(time.Until(w.work.next()))
	}
}

func (w *Watcher) everything(now time.Time) {
	w.work.names.soon(now)
	w.work.records.soon(now)
	w.work.full.soon(now)
}

// fileEvent notes what a change below a watched directory makes necessary.
func (w *Watcher) fileEvent(e fsnotify.Event, now time.Time) {
	switch {
	case w.dirs.concerns(e.Name):
		w.failed(w.dirs.ensure())
		w.work.names.soon(now)
		w.work.records.soon(now)
	case filepath.Dir(e.Name) == netns.Dir:
		w.dirty[filepath.Base(e.Name)] = true
		w.work.dirty.soon(now)
	case filepath.Dir(e.Name) == w.cfg.Registry.SlotsDir() && filepath.Base(e.Name)[0] != '.':
		w.rewritten[filepath.Base(e.Name)] = true
		w.work.rewritten.soon(now)
	}
}

// run does what is due. Whatever has changed is merged right after it.
func (w *Watcher) run(ctx context.Context, now time.Time) {
	t := &w.work
	t.names.run(now, func() {
		w.failed(w.dirs.ensure())
		w.failed(w.names.scan(now))
	})
	t.dirty.run(now, w.readDirty)
	t.records.run(now, w.readRecords)
	t.rewritten.run(now, w.readRewritten)
	t.full.run(now, func() { w.scanProcs(true) })
	t.procs.run(now, func() { w.scanProcs(false) })
	if at := w.names.retryAt(time.Now()); !at.IsZero() && at.Before(t.dirty.at) {
		t.dirty.at = at
	}
	w.stats.namesTook.Store(int64(t.names.took))
	if w.changed || w.names.changed || w.procs.changed || len(w.ended) > 0 {
		t.merge.soon(time.Now())
	}
	if t.merge.run(time.Now(), func() { w.merge(ctx) }) {
		w.changed, w.names.changed, w.procs.changed = false, false, false
		w.stats.mergeTook.Store(int64(t.merge.took))
	}
}

func (w *Watcher) readDirty() {
	now := time.Now()
	for name := range w.dirty {
		w.failed(w.names.read(name, now))
	}
	clear(w.dirty)
	w.failed(w.names.retry(now))
}

// readRecords looks at all of them: a damaged one does not hide the others.
func (w *Watcher) readRecords() {
	changed, err := w.records.Scan()
	w.failed(err)
	w.changed = w.changed || changed
}

// recordRetry is when a record that could not be read is read again.
const recordRetry = 250 * time.Millisecond

// readRewritten reads the records that events named. One that could not be read, such
// as where no file descriptor is left, is read again soon.
func (w *Watcher) readRewritten() {
	for name := range w.rewritten {
		changed, err := w.records.Look(name)
		w.failed(err)
		w.changed = w.changed || changed
		if unread := (*fs.PathError)(nil); !errors.As(err, &unread) {
			delete(w.rewritten, name)
		}
	}
	if len(w.rewritten) > 0 {
		w.work.rewritten.at = time.Now().Add(recordRetry)
	}
}

// learnNames has processes judged by the names that namespaces have now.
func (w *Watcher) learnNames() {
	if !w.names.changed {
		return
	}
	names := make(map[uint64]string, len(w.names.bound))
	several := map[uint64][]string{}
	for name, p := range w.names.bound {
		if was, ok := names[p.inode]; ok {
			several[p.inode] = append(several[p.inode], name, was)
		}
		names[p.inode] = name
	}
	delete(names, 0) // could not be read
	for inode, of := range several {
		slices.Sort(of)
		names[inode] = label(of, w.who.rules.Load())
	}
	w.who.names.Store(&names)
}

func (w *Watcher) scanProcs(full bool) {
	start := time.Now()
	w.learnNames()
	w.failed(w.procs.scan(start, full))
	w.stats.procsTook.Store(int64(time.Since(start)))
	w.stats.procsRead.Store(uint64(w.procs.read))
}

// next returns when the loop has work again.
func (t *tasks) next() time.Time {
	at := t.names.at
	for _, o := range t.all() {
		if o.at.Before(at) {
			at = o.at
		}
	}
	return at
}

func (t *tasks) all() []*task {
	return []*task{&t.names, &t.dirty, &t.records, &t.rewritten, &t.procs, &t.full, &t.merge}
}
