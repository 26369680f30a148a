package discover

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// dirs watches directories that need not exist: until one does, its nearest
// ancestor that exists is watched instead.
type dirs struct {
	fs      *fsnotify.Watcher
	targets []string
	watched map[string]bool
}

func newDirs(targets ...string) (*dirs, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch directories: %w", err)
	}
	return &dirs{fs: fs, targets: targets, watched: map[string]bool{}}, nil
}

// ensure watches what there is to watch now. It is called again after every
// event that concerns an ancestor, and once in a while: a directory that was
// mounted over is another one.
func (d *dirs) ensure() error {
	need := map[string]bool{}
	var errs []error
	for _, t := range d.targets {
		dir, err := d.nearest(t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		need[dir] = true
	}
	for dir := range d.watched {
		if !need[dir] {
			_ = d.fs.Remove(dir) // gone already where the directory is
			delete(d.watched, dir)
		}
	}
	return errors.Join(errs...)
}

// nearest watches dir or its nearest ancestor, and returns which. What appears
// between two attempts is found by beginning again from dir.
func (d *dirs) nearest(dir string) (string, error) {
	watching := ""
	for at := dir; ; at = filepath.Dir(at) {
		err := d.fs.Add(at)
		if err == nil {
			d.watched[at] = true
		}
		switch {
		case err == nil && (at == dir || at == watching):
			return at, nil
		case err == nil: // look again, now that its changes are heard
			watching, at = at, filepath.Join(dir, "x")
		case !errors.Is(err, os.ErrNotExist):
			return "", fmt.Errorf("watch %s: %w", at, err)
		case at == filepath.Dir(at):
			return "", fmt.Errorf("watch %s: %w", dir, err)
		}
	}
}

// concerns reports whether a file is a target or leads to one.
func (d *dirs) concerns(file string) bool {
	for _, t := range d.targets {
		if t == file || strings.HasPrefix(t, file+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

func (d *dirs) close() { d.fs.Close() }
