package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/proc"
)

// killTime bounds the wait for a killed process to be gone.
const killTime = 10 * time.Second

// kill ends that very process and waits for its end; false says that it was
// gone already. The handle is taken first: the pid cannot change hands between
// the look at its start time and the signal.
func kill(p proc.Process) (bool, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if !p.Alive() {
		return false, nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return false, nil
		}
		return false, fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return true, awaitExit(fd, p)
}

// awaitExit waits until a process has exited, be it reaped or not.
func awaitExit(pidfd int, p proc.Process) error {
	for deadline := time.Now().Add(killTime); ; {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, max(0, int(time.Until(deadline).Milliseconds())))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for process %d: %w", p.PID, err)
		}
		if n == 0 {
			return fmt.Errorf("process %d was killed and is still there after %v", p.PID, killTime)
		}
		return nil
	}
}

// vmmsOf finds the processes that were started as the VMM of a sandbox, by the
// name on their command line. Ids are never used twice.
func vmmsOf(sandboxID string) ([]proc.Process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	name := []byte("\x00-name\x00tapwatch-" + sandboxID + ",") // as the driver calls it
	var found []proc.Process
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(line, name) {
			continue // most have exited, or are others'
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			continue
		}
		if p, err := proc.ProcessOf(pid); err == nil {
			found = append(found, p)
		}
	}
	return found, nil
}
