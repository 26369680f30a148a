package discover

import (
	"errors"
	"os"
	"syscall"

	"tapwatch/agent/path"
	"tapwatch/internal/proc"
)

// Alive reports whether a process runs; a zombie does not. The zero process,
// of a record that has none yet, is Unknown.
func Alive(p proc.Process) path.Tristate {
	state, err := p.State()
	switch {
	case errors.Is(err, proc.ErrGone):
		return path.No
	case err != nil:
		return path.Unknown
	}
	return path.Known(!state.Ended())
}

// Stopped reports whether a process that runs is stopped, by SIGSTOP or by a
// debugger; Unknown where Alive is not Yes.
func Stopped(p proc.Process) path.Tristate {
	state, err := p.State()
	if err != nil || state.Ended() {
		return path.Unknown
	}
	return path.Known(state.Stopped())
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
