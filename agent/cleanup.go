package agent

import (
	"errors"

	"tapwatch/agent/probe"
)

// Cleanup removes the hooks that a killed agent of this run directory left, and
// returns from how many devices. It fails with ErrRunning while one lives.
func Cleanup(runDir string) (devices int, err error) {
	held, err := lock(runDir)
	if err != nil {
		return 0, err
	}
	devices, err = probe.Cleanup(HooksDir(runDir))
	return devices, errors.Join(err, unlock(held))
}
