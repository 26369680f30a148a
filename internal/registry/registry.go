// Package registry holds the files by which a launcher tells any agent on the
// host whose each slot is, and by which cleanup knows what a killed launcher
// left behind: one JSON file a slot under Dir/slots. It is the whole contract
// between internal/sandbox and agent, which never import each other.
package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

// DefaultDir is where a launcher keeps its records; it does not survive a reboot,
// and neither do the slots.
const DefaultDir = "/run/tapwatch"

// State is where a sandbox stands in its life.
type State string

// The states of a sandbox, in order.
const (
	Booting State = "booting" // VMM being started, envd not yet healthy
	Running State = "running" // envd answered /health once
	Failed  State = "failed"  // VMM exited or envd never answered; kept for a look
	Ending  State = "ending"  // it is being removed
	Paused  State = "paused"  // its VM stands still until it is resumed
)

// Slot is one namespace with its veth pair and tap. Sandbox is nil while the
// slot is idle in the pool.
type Slot struct {
	Index    int          `json:"index"`
	Netns    string       `json:"netns"`        // name under /run/netns
	Cookie   netns.Cookie `json:"netns_cookie"` // 0 until the namespace exists
	HostVeth string       `json:"host_veth"`
	Tap      string       `json:"tap"`
	VpeerIP  string       `json:"vpeer_ip"`
	HostIP   string       `json:"host_ip,omitempty"` // by which a dnat path is reached
	GuestIP  string       `json:"guest_ip"`
	Owner    proc.Process `json:"owner"` // the launcher
	Sandbox  *Sandbox     `json:"sandbox,omitempty"`

	// Stamp is of the file that this was read from, by Reader; zero: of none.
	Stamp Stamp `json:"-"`
}

// Stamp tells a record's file from what replaces it.
type Stamp struct {
	Inode    uint64
	Size     int64
	Modified int64 // nanoseconds of the calendar
}

func stampOf(fi os.FileInfo) Stamp {
	s := Stamp{Size: fi.Size(), Modified: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.Inode = st.Ino
	}
	return s
}

// Stands says whether the record of a slot is still the one that has that stamp. It
// needs no file descriptor. Of a record that may not be looked at it says yes.
func (d Dir) Stands(index int, s Stamp) bool {
	fi, err := os.Stat(d.file(index))
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	return err != nil || stampOf(fi) == s
}

// Sandbox is a VM bound to a slot.
type Sandbox struct {
	ID         string `json:"id"`
	Name       string `json:"name,omitempty"` // a label for people, e.g. of the demo
	TemplateID string `json:"template_id"`
	BuildID    string `json:"build_id"`
	Alias      string `json:"alias,omitempty"`
	// TemplateDir holds the build's rootfs.ext4 and metadata.json; empty: not known.
	TemplateDir string            `json:"template_dir,omitempty"`
	State       State             `json:"state"`
	Reason      string            `json:"reason,omitempty"` // why Failed
	VMM         string            `json:"vmm"`              // "qemu"
	VMMProcess  proc.Process      `json:"vmm_process"`
	Console     string            `json:"console,omitempty"` // log file
	Shape       Shape             `json:"shape"`             // of its path
	CreatedAt   time.Time         `json:"created_at"`
	EndAt       time.Time         `json:"end_at"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// Dir is an open registry.
type Dir string

// SlotsDir is the directory to watch: a record appears, changes and goes in one
// step each (a link, a rename, a removal). Names that begin with a dot are of no concern.
func (d Dir) SlotsDir() string { return filepath.Join(string(d), "slots") }

func (d Dir) file(index int) string {
	return filepath.Join(d.SlotsDir(), strconv.Itoa(index)+".json")
}

// ErrTaken is returned where a slot has a record already, whoever's it is.
var ErrTaken = errors.New("slot is taken")

// Claim writes the record of a slot that has none, whole or not at all, and
// returns ErrTaken where it has one: of two launchers that claim the same slot
// one gets it.
func (d Dir) Claim(s Slot) error {
	return d.write(s, func(tmp, file string) error {
		err := os.Link(tmp, file)
		if errors.Is(err, os.ErrExist) {
			err = fmt.Errorf("%w: slot %d", ErrTaken, s.Index)
		}
		return errors.Join(err, os.Remove(tmp))
	})
}

// Put writes the record of a slot, whole or not at all. Only the launcher that
// claimed the slot may.
func (d Dir) Put(s Slot) error { return d.write(s, os.Rename) }

// write makes a temporary file that names its writer, so that Sweep can tell
// whose it was, and lets commit move it into place.
func (d Dir) write(s Slot, commit func(tmp, file string) error) error {
	if err := os.MkdirAll(d.SlotsDir(), 0o755); err != nil {
		return fmt.Errorf("write slot record: %w", err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write slot record: %w", err)
	}
	self, err := proc.ProcessOf(os.Getpid())
	if err != nil {
		return fmt.Errorf("write slot record: %w", err)
	}
	f, err := os.CreateTemp(d.SlotsDir(), fmt.Sprintf(".%d.%s.*.tmp", s.Index, self))
	if err != nil {
		return fmt.Errorf("write slot record: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = commit(f.Name(), d.file(s.Index))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write slot record: %w", err)
	}
	return nil
}

// Sweep removes what writers that no longer live left half-written, and
// returns the names of the files removed.
func (d Dir) Sweep() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(d.SlotsDir(), ".*.tmp"))
	if err != nil {
		return nil, fmt.Errorf("sweep slot records: %w", err)
	}
	var removed []string
	for _, f := range files {
		var index int
		var p proc.Process
		if _, err := fmt.Sscanf(filepath.Base(f), ".%d.%d-%d.", &index, &p.PID, &p.Start); err != nil || p.Alive() {
			continue
		}
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return removed, fmt.Errorf("sweep slot records: %w", err)
		}
		removed = append(removed, f)
	}
	return removed, nil
}

// Remove forgets a slot; one that is not there is no error.
func (d Dir) Remove(index int) error {
	if err := os.Remove(d.file(index)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove slot record: %w", err)
	}
	return nil
}

// List reads every record. A directory that does not exist is an empty list. A
// damaged record does not hide the others: what could be read is returned
// together with the joined errors.
func (d Dir) List() ([]Slot, error) {
	entries, err := os.ReadDir(d.SlotsDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list slot records: %w", err)
	}
	var slots []Slot
	var errs []error
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(d.SlotsDir(), e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed since
		}
		var s Slot
		if err == nil {
			err = json.Unmarshal(b, &s)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read slot record %s: %w", e.Name(), err))
			continue
		}
		slots = append(slots, s)
	}
	return slots, errors.Join(errs...)
}
