package discover

import (
	"errors"
	"os"
	"reflect"
	"syscall"
	"time"

	"tapwatch/agent/identity"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

// VMM is a process that says it is a VMM, or that holds a tap. It is never changed.
type VMM struct {
	Process  proc.Process
	Started  time.Time
	Command  string       // as /proc/PID/comm has it, raw
	Parent   int          // pid
	Netns    netns.Cookie // where it is; 0: could not be read
	Inode    uint64       // of that namespace; 0: could not be read
	Identity identity.Identity
	Console  string // the file that keeps the guest's console; empty: unknown, or there is none
	// Zombie is set where it has ended and nobody has waited for it: its launcher
	// still counts on it.
	Zombie bool
}

// same reports whether two say the same of one process.
func (v *VMM) same(o *VMM) bool {
	if v == nil || o == nil {
		return v == o
	}
	a, b := *v, *o
	a.Started, b.Started = time.Time{}, time.Time{} // of the start in Process, by a clock that is set
	return reflect.DeepEqual(a, b)
}

// remember makes a check of processes answer each once.
func remember(check func(proc.Process) path.Tristate) func(proc.Process) path.Tristate {
	known := map[proc.Process]path.Tristate{}
	return func(p proc.Process) path.Tristate {
		t, ok := known[p]
		if !ok {
			t = check(p)
			known[p] = t
		}
		return t
	}
}

// inodeOf returns the inode of an open file, 0 where that cannot be had.
func inodeOf(f *os.File) uint64 {
	if fi, err := f.Stat(); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			return st.Ino
		}
	}
	return 0
}

// aliveOf reads whether a process runs; a zombie does not. The zero process, of a
// record that has none yet, is unknown.
func aliveOf(p proc.Process) path.Tristate {
	state, err := p.State()
	switch {
	case err == nil:
		return path.Known(!state.Ended())
	case errors.Is(err, proc.ErrGone):
		return path.No
	}
	return path.Unknown
}
