package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tapwatch/agent/probe"
)

var (
	// ErrRunning is returned while an agent has the run directory.
	ErrRunning = errors.New("an agent is already running")
	// ErrLocked is returned while a process that is not known to be an agent has the
	// lock of the run directory.
	ErrLocked = errors.New("another process has locked the run directory")
)

// lockFile is in the run directory. Only its owner may open it: whoever can, can
// lock it.
const lockFile = "agent.lock"

// lock takes a run directory for one agent, or for one cleanup. The file is
// removed and the lock given back by unlock.
func lock(runDir string) (*os.File, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	path := filepath.Join(runDir, lockFile)
	if err := removeForeign(runDir, path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock run directory: %w", err)
	}
	if err := f.Chmod(0o600); err != nil { // older versions made it legible
		f.Close()
		return nil, fmt.Errorf("lock run directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		return nil, taken(runDir, f)
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

// removeForeign removes a lock file that a user put there who has no business with
// the directory: where everybody may write, as in a volume of Kubernetes, that
// user could hold it for good. What belongs to the directory's own user stays.
func removeForeign(dir, path string) error {
	var of, file unix.Stat_t
	if err := unix.Stat(dir, &of); err != nil {
		return fmt.Errorf("look at run directory: %w", &fs.PathError{Op: "stat", Path: dir, Err: err})
	}
	switch err := unix.Lstat(path, &file); {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("look at lock: %w", &fs.PathError{Op: "lstat", Path: path, Err: err})
	}
	if int(file.Uid) == os.Geteuid() || file.Uid == of.Uid || file.Uid == 0 {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove lock of user %d: %w", file.Uid, err)
	}
	return nil
}

// taken says who has the lock. The kernel reports whether an agent lives.
func taken(runDir string, f *os.File) error {
	what := ErrLocked
	if living, err := probe.AgentOf(HooksDir(runDir)); err == nil && living != nil {
		what = ErrRunning
	}
	return fmt.Errorf("%w with --run-dir %s (%s): stop it first, or choose another", what, runDir, lockHolder(f))
}

// lockHolder names the process that has locked the file, as /proc/locks tells.
func lockHolder(f *os.File) string {
	const unknown = "locked by a process that cannot be seen from here"
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return unknown
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return unknown
	}
	defer locks.Close()
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for s := bufio.NewScanner(locks); s.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 734 00:1a:1024 0 EOF, from fs/locks.c
		words := strings.Fields(s.Text())
		if len(words) < 6 || words[1] != "FLOCK" || words[5] != file {
			continue
		}
		if pid, err := strconv.Atoi(words[4]); err == nil && pid > 0 {
			comm, _ := os.ReadFile("/proc/" + words[4] + "/comm")
			return fmt.Sprintf("locked by pid %d, %q", pid, strings.TrimSpace(string(comm)))
		}
	}
	return unknown
}

// unlock gives the run directory back, and removes it if nothing else is in it.
func unlock(f *os.File) error {
	dir := filepath.Dir(f.Name())
	err := errors.Join(os.Remove(f.Name()), f.Close())
	_ = os.Remove(dir) // a launcher may have its records there: then it stays
	return err
}
