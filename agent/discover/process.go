package discover

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/registry"
)

// userHZ is the unit of /proc/pid/stat's times on every architecture that Go
// and KVM share.
const userHZ = 100

// Alive reports whether a process runs; a zombie does not. The zero process,
// of a record that has none yet, is Unknown.
func Alive(p registry.Process) Tristate {
	alive, _ := look(p)
	return alive
}

// Stopped reports whether a process that runs is stopped, by SIGSTOP or by a
// debugger; Unknown where Alive is not Yes.
func Stopped(p registry.Process) Tristate {
	alive, state := look(p)
	switch {
	case alive != Yes:
		return Unknown
	case state == "T" || state == "t":
		return Yes
	}
	return No
}

// Zombie reports whether a process has ended and is still to be waited for.
func Zombie(p registry.Process) bool {
	_, state := look(p)
	return state == "Z"
}

// look reads whether a process runs, and its state as ps prints it.
func look(p registry.Process) (alive Tristate, state string) {
	if p.PID == 0 {
		return Unknown, ""
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/stat")
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH):
		return No, ""
	case err != nil:
		return Unknown, ""
	}
	// The command, in parentheses, may hold anything: fields count from its end.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return Unknown, ""
	}
	switch {
	case f[19] != strconv.FormatUint(p.Start, 10):
		return No, "" // another has its pid
	case f[0] == "Z" || f[0] == "X":
		return No, f[0]
	}
	return Yes, f[0]
}

// remember makes a check of processes answer each once.
func remember(check func(registry.Process) Tristate) func(registry.Process) Tristate {
	known := map[registry.Process]Tristate{}
	return func(p registry.Process) Tristate {
		t, ok := known[p]
		if !ok {
			t = check(p)
			known[p] = t
		}
		return t
	}
}

// Started returns when a process was started, to 10 ms: the kernel tells no
// better. It is the zero time for the zero process.
func Started(p registry.Process) time.Time {
	if p.PID == 0 {
		return time.Time{}
	}
	return bootTime().Add(time.Duration(p.Start) * (time.Second / userHZ))
}

// bootTime is taken once: what NTP corrects later is below what it is used for.
// /proc/stat has it to a second only.
var bootTime = sync.OnceValue(func() time.Time {
	var ts unix.Timespec
	// CLOCK_BOOTTIME always exists, so this cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Now().Add(-time.Duration(ts.Nano())).UTC()
})

// inodeOf returns the inode of an open file, 0 where that cannot be had.
func inodeOf(f *os.File) uint64 {
	if fi, err := f.Stat(); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			return st.Ino
		}
	}
	return 0
}
