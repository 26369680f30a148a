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

// Only the agent's user can open the lock, and so hold it.
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
	dir = t.TempDir()
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, lockFile)); err != nil {
		t.Fatal(err)
	}
	if f, err := lock(dir); err == nil {
		t.Errorf("a link was followed: %s", f.Name())
	}
}

// In a directory that everybody may write to, a stranger's lock is not waited for.
func TestLockOfAStranger(t *testing.T) {
	nettest.NeedRoot(t)
	const stranger, other = 65534, 65533
	for _, tt := range []struct {
		name     string
		dir      int // whose it is
		mode     uint32
		replaced bool
	}{
		{"a directory for all", 0, 0o777, true},
		{"a sticky directory for all", 0, 0o1777, true},
		{"another's directory", other, 0o755, true},
		{"the stranger's own directory", stranger, 0o755, false},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, lockFile)
		theirs, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer theirs.Close()
		if err := errors.Join(theirs.Chown(stranger, stranger), os.Chown(dir, tt.dir, tt.dir), unix.Chmod(dir, tt.mode),
			unix.Flock(int(theirs.Fd()), unix.LOCK_EX)); err != nil {
			t.Fatal(err)
		}
		f, err := lock(dir)
		switch {
		case tt.replaced && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case !tt.replaced && !errors.Is(err, ErrLocked):
			t.Errorf("%s: %v, want ErrLocked", tt.name, err)
		}
		if err == nil {
			_ = unlock(f)
		}
	}
}
