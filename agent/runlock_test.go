package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
)

// A lock that is no agent's is told as such, with the process that has it, by a
// start and by a cleanup.
func TestLockedByAnother(t *testing.T) {
	nettest.NeedRoot(t)
	dir := t.TempDir()
	held, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	holder := fmt.Sprintf("locked by pid %d, ", os.Getpid())
	if _, err := lock(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), holder) {
		t.Errorf("a second lock: %v", err)
	}
	if _, err := Cleanup(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), holder) {
		t.Errorf("a cleanup: %v", err)
	}
	if err := unlock(held); err != nil {
		t.Fatal(err)
	}
	if _, err := Cleanup(dir); err != nil {
		t.Errorf("a cleanup after that: %v", err)
	}
}

// Only who may write to the run directory can open the lock, and so hold it.
func TestLockIsClosedToOthers(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, lockFile)
	if err := os.WriteFile(old, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	held, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(old)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the lock's mode: %v, %v", st.Mode(), err)
	}
	if err := unlock(held); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []uint32{0o777, 0o1777, 0o757} {
		dir := t.TempDir()
		if err := unix.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if f, err := lock(dir); !errors.Is(err, ErrOpenDirectory) {
			t.Errorf("a directory of mode %04o: %v, %v", mode, f, err)
		}
	}
	dir = t.TempDir()
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, lockFile)); err != nil {
		t.Fatal(err)
	}
	if f, err := lock(dir); err == nil {
		t.Errorf("a link was followed: %s", f.Name())
	}
}
