package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// lookEvery is for what no event tells of: a directory that was mounted over.
const lookEvery = 5 * time.Second

// Run looks at the records whenever one changes, until ctx ends.
func (r *Records) Run(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", r.dir.SlotsDir(), err)
	}
	defer w.Close()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := watchNearest(w, r.dir.SlotsDir()); err != nil {
			return err
		}
		r.look() // after the watch: what came before it is seen, what comes after is heard
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
		case err := <-w.Errors: // events were lost
			r.log.Debug("looking at all slot records", "err", err)
		case <-tick.C:
		}
		drain(w)
	}
}

// watchNearest watches a directory, or while it does not exist the nearest of its
// parents that does, and nothing else.
func watchNearest(w *fsnotify.Watcher, dir string) error {
	for {
		at := dir
		err := w.Add(at)
		for errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			at = filepath.Dir(at)
			err = w.Add(at)
		}
		if err != nil {
			return fmt.Errorf("watch %s: %w", at, err)
		}
		for _, other := range w.WatchList() {
			if other != at {
				_ = w.Remove(other) // gone already where the directory is
			}
		}
		if at == dir || !exists(firstBelow(at, dir)) {
			return nil
		} // else it has appeared before it was watched
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// firstBelow is the directory in at that leads to dir.
func firstBelow(at, dir string) string {
	for filepath.Dir(dir) != at {
		dir = filepath.Dir(dir)
	}
	return dir
}

// drain takes what one look answers together.
func drain(w *fsnotify.Watcher) {
	for {
		select {
		case <-w.Events:
		default:
			return
		}
	}
}
