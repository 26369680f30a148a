package agent

import (
	"errors"
	"io/fs"
	"os"

	"tapwatch/agent/probe"
	"tapwatch/internal/pairing"
)

// Cleanup removes the hooks that a killed agent of this run directory left, with
// its socket, and those of dead agents whose run directory has gone; what it left
// and why is in Cleaned. It fails with ErrRunning while the directory's agent
// lives, and with ErrLocked while another process has the lock, but cleans up after
// the others all the same.
func Cleanup(runDir string) (probe.Cleaned, error) {
	held, err := lock(runDir)
	if err != nil {
		done, e := probe.Cleanup("")
		if errors.Is(err, ErrRunning) && e != nil { // a living agent is no failure to clean up
			return done, e
		}
		return done, errors.Join(err, e)
	}
	done, err := probe.Cleanup(HooksDir(runDir))
	if e := os.Remove(pairing.Socket(runDir)); !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return done, errors.Join(err, unlock(held))
}
