package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
)

// Report says what Cleanup did, a line each.
type Report struct {
	Removed []string
	Kept    []string // what stands where a dead launcher's was, and is not its
}

// Cleanup removes what launchers that no longer live left behind: VMMs, slots,
// consoles, records. What it removes is named by a record whose owner is dead,
// and is still the same by its process's start time or its namespace's cookie;
// nothing else is touched. What could not be removed keeps its record, and is
// among the joined errors.
func Cleanup(runDir string) (Report, error) {
	var report Report
	if runDir == "" { // would be the working directory, for one who left a variable unset
		return report, errors.New("clean up: no run directory named")
	}
	if err := network.Check(); err != nil {
		return report, fmt.Errorf("clean up: %w", err)
	}
	runDir, err := filepath.Abs(runDir)
	if err != nil {
		return report, fmt.Errorf("clean up: %w", err)
	}
	dir := registry.Dir(runDir)
	// In this order: a log is made after its record and removed before it.
	logs, logErr := filepath.Glob(filepath.Join(consoleDir(runDir), "*.log"))
	slots, listErr := dir.List()
	errs := []error{logErr, listErr}
	for _, r := range slots {
		if !r.Owner.Alive() {
			errs = append(errs, report.removeSlot(dir, runDir, r))
		}
	}
	if logErr == nil && listErr == nil { // else a log may be of a record that cannot be read
		errs = append(errs, report.removeLogs(logs, slots))
	}
	swept, err := dir.Sweep()
	for _, f := range swept {
		report.removed("half-written record %s", f)
	}
	guards, guardErr := network.RemoveGuards()
	for _, table := range guards {
		report.removed("table %s of the host's rules", table)
	}
	removeIfEmpty(runDir)
	return report, errors.Join(append(errs, err, guardErr)...)
}

// removeIfEmpty removes the run directory's folders, and itself, where no
// launcher and no agent has anything in them.
func removeIfEmpty(runDir string) {
	for _, dir := range []string{consoleDir(runDir), registry.Dir(runDir).SlotsDir(), runDir} {
		_ = os.Remove(dir) // it fails on what is in use, as it should
	}
}

func (r *Report) removed(format string, args ...any) {
	r.Removed = append(r.Removed, fmt.Sprintf(format, args...))
}

// removeSlot removes all that one record names, and the record at last.
func (r *Report) removeSlot(dir registry.Dir, runDir string, slot registry.Slot) error {
	if s := slot.Sandbox; s != nil {
		if err := r.removeVMMs(s); err != nil {
			return err
		}
		if err := r.removeLog(filepath.Join(consoleDir(runDir), filepath.Base(s.Console)), s.Console); err != nil {
			return err
		}
	}
	there := network.Exists(network.Slot{Index: slot.Index})
	ours, err := network.RemoveOwned(slot)
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	switch {
	case !ours:
		r.Kept = append(r.Kept, fmt.Sprintf("namespace %s: it is not the one that launcher %d made", slot.Netns, slot.Owner.PID))
	case there:
		r.removed("slot %d: namespace %s, link %s", slot.Index, slot.Netns, slot.HostVeth)
	}
	if err := dir.Remove(slot.Index); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	r.removed("record of slot %d, whose launcher %d is gone", slot.Index, slot.Owner.PID)
	return nil
}

// removeVMMs kills the recorded VMM, and one that was started but not recorded
// any more, which names its sandbox on its command line.
func (r *Report) removeVMMs(s *registry.Sandbox) error {
	found, err := vmmsOf(s.ID)
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	if s.VMMProcess.Alive() && !slices.Contains(found, s.VMMProcess) {
		found = append(found, s.VMMProcess)
	}
	for _, p := range found {
		killed, err := kill(p)
		if err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
		if killed {
			r.removed("VMM %d of sandbox %s", p.PID, s.ID)
		}
	}
	return nil
}

// removeLog removes a console log if it is where a launcher puts them.
func (r *Report) removeLog(want, file string) error {
	if file != want {
		return nil
	}
	err := os.Remove(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	r.removed("console log %s", file)
	return nil
}

// removeLogs removes the logs of sandboxes that no record names. A file that is
// not named as a sandbox is somebody else's.
func (r *Report) removeLogs(logs []string, slots []registry.Slot) error {
	var errs []error
	for _, file := range logs {
		id := strings.TrimSuffix(filepath.Base(file), ".log")
		known := slices.ContainsFunc(slots, func(s registry.Slot) bool { return s.Sandbox != nil && s.Sandbox.ID == id })
		if !known && isID(id) {
			errs = append(errs, r.removeLog(file, file))
		}
	}
	return errors.Join(errs...)
}
