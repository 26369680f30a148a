package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/fsnotify/fsnotify"

	pb "tapwatch/internal/sandbox/envd/proto/filesystem"
)

// errOverflow is returned where events were lost: the watcher must look for itself.
var errOverflow = errors.New("too many events at once: some are lost")

// directory is a watched directory, with those below it where it is recursive.
type directory struct {
	root      string
	recursive bool
	notify    *fsnotify.Watcher
}

// watch begins to watch; the caller closes it.
func watch(root string, recursive bool) (*directory, error) {
	st, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, &fs.PathError{Op: "watch", Path: root, Err: syscall.ENOTDIR}
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", root, err)
	}
	d := &directory{root: root, recursive: recursive, notify: notify}
	if err := d.add(root); err != nil {
		notify.Close()
		return nil, fmt.Errorf("watch %s: %w", root, err)
	}
	return d, nil
}

func (d *directory) close() { d.notify.Close() }

// add watches a directory and, where asked for, those below it.
func (d *directory) add(dir string) error {
	if !d.recursive {
		return d.notify.Add(dir)
	}
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone since
		}
		if err != nil || !e.IsDir() {
			return err
		}
		return d.notify.Add(path)
	})
}

// operations are the kinds of event, in the order in which one notice tells of them.
var operations = []struct {
	op   fsnotify.Op
	kind pb.EventType
}{
	{fsnotify.Create, pb.EventType_EVENT_TYPE_CREATE},
	{fsnotify.Rename, pb.EventType_EVENT_TYPE_RENAME},
	{fsnotify.Chmod, pb.EventType_EVENT_TYPE_CHMOD},
	{fsnotify.Write, pb.EventType_EVENT_TYPE_WRITE},
	{fsnotify.Remove, pb.EventType_EVENT_TYPE_REMOVE},
}

// events turns a notice into events, and follows a new directory. Names are
// relative to the root.
func (d *directory) events(n fsnotify.Event) ([]*pb.FilesystemEvent, error) {
	name, err := filepath.Rel(d.root, n.Name)
	if err != nil {
		return nil, err
	}
	if d.recursive && n.Has(fsnotify.Create) {
		if st, err := os.Lstat(n.Name); err == nil && st.IsDir() {
			if err := d.add(n.Name); err != nil {
				return nil, fmt.Errorf("watch %s: %w", n.Name, err)
			}
		}
	}
	var events []*pb.FilesystemEvent
	for _, o := range operations {
		if n.Has(o.op) {
			events = append(events, &pb.FilesystemEvent{Name: name, Type: o.kind})
		}
	}
	return events, nil
}

// lost turns the watcher's own errors into ours.
func lost(err error) error {
	if errors.Is(err, fsnotify.ErrEventOverflow) {
		return errOverflow
	}
	return err
}
