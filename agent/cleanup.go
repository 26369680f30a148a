package agent

import (
	"errors"
	"io/fs"
	"os"

	"tapwatch/agent/probe"
	"tapwatch/internal/pairing"
)

// Cleanup removes the hooks that a killed agent of this run directory left, and
// returns from how many devices; its socket goes too. It fails with ErrRunning
// while one lives.
func Cleanup(runDir string) (devices int, err error) {
	held, err := lock(runDir)
	if err != nil {
		return 0, err
	}
	devices, err = probe.Cleanup(HooksDir(runDir))
	if e := os.Remove(pairing.Socket(runDir)); !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return devices, errors.Join(err, unlock(held))
}
