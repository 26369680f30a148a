package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrRunning is returned while an agent has the run directory.
var ErrRunning = errors.New("an agent is already running")

// lock takes a run directory for one agent, or for one cleanup. The file is
// removed and the lock given back by unlock.
func lock(runDir string) (*os.File, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(runDir, "agent.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock run directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("%w with --run-dir %s: stop it first, or choose another", ErrRunning, runDir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock run directory: %w", err)
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0 { // its last owner removed it meanwhile
		f.Close()
		return lock(runDir)
	}
	return f, nil
}

// unlock gives the run directory back, and removes it if nothing else is in it.
func unlock(f *os.File) error {
	dir := filepath.Dir(f.Name())
	err := errors.Join(os.Remove(f.Name()), f.Close())
	_ = os.Remove(dir) // a launcher may have its records there: then it stays
	return err
}
