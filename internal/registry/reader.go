package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Reader lists a registry again and again, and reads only the records that have
// changed since: a record is replaced, never written to, so its file tells.
type Reader struct {
	dir  Dir
	read map[string]record
}

type record struct {
	file os.FileInfo
	slot Slot
	err  error
}

// NewReader returns a reader that has read nothing yet.
func NewReader(d Dir) *Reader { return &Reader{dir: d, read: map[string]record{}} }

// Scan looks at every record and reports whether any has come, gone or changed.
// A directory that does not exist holds none. Damaged records are left out of
// Slots and named in the joined errors.
func (r *Reader) Scan() (changed bool, err error) {
	entries, err := os.ReadDir(r.dir.SlotsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("list slot records: %w", err)
	}
	there := make(map[string]bool, len(entries))
	var errs []error
	for _, e := range entries {
		there[e.Name()] = true
		c, err := r.Look(e.Name())
		changed = changed || c
		errs = append(errs, err)
	}
	for name := range r.read {
		if !there[name] {
			delete(r.read, name)
			changed = true
		}
	}
	return changed, errors.Join(errs...)
}

// Look reads one record by the name of its file in SlotsDir, if it is another
// than before, and reports whether it is.
func (r *Reader) Look(name string) (changed bool, err error) {
	if filepath.Ext(name) != ".json" {
		return false, nil
	}
	path := filepath.Join(r.dir.SlotsDir(), name)
	before, known := r.read[name]
	fi, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		delete(r.read, name)
		return known, nil
	}
	if err != nil {
		return false, fmt.Errorf("read slot record %s: %w", name, err)
	}
	if known && same(before.file, fi) {
		return false, before.err
	}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist): // removed since
		delete(r.read, name)
		return known, nil
	case err != nil: // no descriptor is left, perhaps: what it said holds until it can be read
		return false, fmt.Errorf("read slot record %s: %w", name, err)
	}
	now := record{file: fi}
	if err := json.Unmarshal(b, &now.slot); err != nil {
		now.err = fmt.Errorf("read slot record %s: %w", name, err)
	}
	now.slot.Stamp = stampOf(fi)
	r.read[name] = now
	return true, now.err
}

// same says whether a file is still the one that was read. A file that was new
// when it was read may be changed once more within the clock's grain.
func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) &&
		time.Since(b.ModTime()) > 20*time.Millisecond
}

// Slots returns the records as they were last read.
func (r *Reader) Slots() []Slot {
	slots := make([]Slot, 0, len(r.read))
	for _, rec := range r.read {
		if rec.err == nil {
			slots = append(slots, rec.slot)
		}
	}
	return slots
}
