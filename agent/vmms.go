package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tapwatch/agent/exits"
	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/internal/clean"
	"tapwatch/internal/proc"
)

// vmms looks at the processes of VMMs, and has the kernel report the end of each, so
// that it can be said how it ended and whether the carrier went before or after.
type vmms struct {
	slots *slots.Slots
	exits *exits.Watcher // nil: the kernel does not report it
	once  sync.Once
	log   *slog.Logger

	mu      sync.Mutex
	watched map[int]time.Time // pids, since when
}

// openExits loads the program. Without it the ends of VMMs are found by looking, and
// nobody knows how they ended.
func openExits(pids proc.Numbers, log *slog.Logger) *exits.Watcher {
	w, err := exits.Open(pids)
	if err != nil {
		log.Warn("how VMMs end will not be known", "err", err)
		return nil
	}
	return w
}

func newVMMs(w *exits.Watcher, s *slots.Slots, log *slog.Logger) *vmms {
	return &vmms{slots: s, exits: w, log: log.With("part", "vmms"), watched: map[int]time.Time{}}
}

// watch has the end of a process reported, from now on.
func (v *vmms) watch(pid int) {
	if v.exits == nil || pid == 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.watched[pid]; known {
		return
	}
	if err := v.exits.Watch(pid); err != nil {
		v.log.Warn("how this VMM ends will not be known", "pid", pid, "err", err)
		return
	}
	v.watched[pid] = time.Now()
}

// forgetAfter is how long a process is watched that no sandbox has as its VMM.
const forgetAfter = 10 * time.Second

// forget ends the watch of processes that are VMMs of no sandbox.
func (v *vmms) forget() {
	if v.exits == nil {
		return
	}
	are := v.slots.VMMs()
	v.mu.Lock()
	defer v.mu.Unlock()
	for pid, since := range v.watched {
		if are[pid] || time.Since(since) < forgetAfter {
			continue
		}
		if err := v.exits.Forget(pid); err != nil {
			v.log.Debug("forget a VMM", "err", err)
		}
		delete(v.watched, pid)
	}
}

func (v *vmms) run(ctx context.Context) error {
	if v.exits == nil {
		return nil
	}
	return v.exits.Run(ctx, exits.Told{Ended: v.ended, Signalled: v.signalled, Kicked: v.slots.Kicked})
}

func (v *vmms) close() (err error) {
	if v.exits != nil {
		v.once.Do(func() { err = v.exits.Close() })
	}
	return err
}

// ended hands on the end of a process.
func (v *vmms) ended(e exits.Exit) {
	held := path.Unknown
	if e.HeldKnown {
		held = path.Known(e.HeldTap)
	}
	status := ""
	switch {
	case e.Status.Signaled():
	case e.Status.ExitStatus() == 0:
		status = "0"
	default:
		status = "other"
	}
	v.slots.TakeExit(e.PID, path.VMMExit{Time: e.Time, Command: clean.Label(e.Command), How: clean.Text(e.String()), HeldTap: held, Wanted: e.Wanted(), Signal: e.Signal(), Status: status},
		clean.Text(fmt.Sprintf("%s (pid %d) %s", e.Command, e.PID, e)))
	v.mu.Lock()
	delete(v.watched, e.PID)
	v.mu.Unlock()
}

// lookAgain is how long after a signal a VMM is looked at, which stops only as each
// of its threads next leaves the kernel.
var lookAgain = []time.Duration{2 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond}

// signalled looks at a VMM that is to stop or to go on.
func (v *vmms) signalled(pid int, _ bool) {
	for _, d := range lookAgain {
		time.AfterFunc(d, func() {
			for _, t := range v.slots.Signalled(pid) {
				v.look(t)
			}
		})
	}
}

// look reads what the VMM of a sandbox does.
func (v *vmms) look(t slots.Target) { v.slots.TakeProcess(t, stateOf(proc.Process(t.VMM))) }

// stateOf reads what a process does.
func stateOf(p proc.Process) (is slots.ProcessState) {
	state, err := p.State()
	switch {
	case errors.Is(err, proc.ErrGone):
		is.Alive = path.No
	case err != nil: // unknown
	case state.Ended():
		is.Alive, is.Zombie = path.No, state.Zombie()
	default:
		is.Alive, is.Stopped = path.Yes, path.Known(state.Stopped())
	}
	return is
}
