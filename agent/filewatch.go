package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/fsnotify/fsnotify"

	"tapwatch/agent/slots"
)

// fileWatch reports whose file was written to, for files that come and go with sandboxes.
// But for closing, it belongs to the goroutine that runs it.
type fileWatch struct {
	fs   *fsnotify.Watcher
	log  *slog.Logger
	what string // of the files, in a log line
	of   map[string][]slots.Key
}

func newFileWatch(what string, log *slog.Logger) (*fileWatch, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return &fileWatch{fs: fs, log: log, what: what, of: map[string][]slots.Key{}}, nil
}

// followsEvery is how often the files of new sandboxes are looked for.
const followsEvery = time.Second

// run reports to changed until the context ends. Once the bindings have changed it calls
// follow, and again until that says that all files are watched.
func (w *fileWatch) run(ctx context.Context, bindings func() uint64, follow func() (all bool), changed func(...slots.Key)) {
	tick := newTicks(followsEvery)
	defer tick.Stop()
	for followed := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.again()
			if now := bindings(); now != followed && follow() {
				followed = now
			}
		case e := <-w.fs.Events:
			if keys := w.of[e.Name]; len(keys) > 0 {
				changed(keys...)
			}
		case err := <-w.fs.Errors: // an overflow: whose file changed meanwhile is not known
			w.log.Debug(w.what+": files are read in turn", "err", err)
		}
	}
}

// keep watches those files and no others, and returns whose are watched now and were not
// before. Files that may not be had yet, or cannot be watched, are left out: then all is
// false.
func (w *fileWatch) keep(files map[string][]slots.Key, may func(file string) bool) (added []slots.Key, all bool) {
	for file := range w.of {
		if _, ok := files[file]; !ok {
			_ = w.fs.Remove(file) // it has gone by itself, as a rule
			delete(w.of, file)
		}
	}
	all = true
	for file, keys := range files {
		if _, ok := w.of[file]; !ok {
			if !may(file) {
				all = false
				continue
			}
			if err := w.fs.Add(file); err != nil {
				w.log.Debug(w.what+": a file is read in turn only", "file", file, "err", err)
				all = false // it may not be there yet
				continue
			}
			added = append(added, keys...)
		}
		w.of[file] = keys
	}
	return added, all
}

// close gives back what the kernel keeps for it.
func (w *fileWatch) close() error { return w.fs.Close() }
