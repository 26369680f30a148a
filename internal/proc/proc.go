// Package proc reads /proc/PID/stat: which process a pid is, whether it runs, and
// since when.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/ktime"
)

// The errors of a process that cannot be read; any other means that it is not known.
var (
	ErrNone = errors.New("no process is named")
	ErrGone = errors.New("the process has gone")
)

// Process names a process for good: pids are reused, a pid with its start time
// is not. The zero value is no process.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // field 22 of /proc/pid/stat, clock ticks since boot
}

// String is pid-start, as in file names.
func (p Process) String() string { return fmt.Sprintf("%d-%d", p.PID, p.Start) }

// State is what a process does, as ps prints it: field 3 of /proc/pid/stat, from
// get_task_state in fs/proc/array.c.
type State byte

// Zombie says that the process has ended and its parent has not waited for it.
func (s State) Zombie() bool { return s == 'Z' }

// Ended says that the process runs no more; a zombie does not.
func (s State) Ended() bool { return s == 'Z' || s == 'X' }

// Stopped says that SIGSTOP or a debugger holds the process.
func (s State) Stopped() bool { return s == 'T' || s == 't' }

// Stat is what /proc/pid/stat says of the process that has a pid now.
type Stat struct {
	Process Process
	Command string // comm, at most 15 bytes of anything
	State   State
	Parent  int // pid
}

// ProcessOf returns the process that has this pid now, be it a zombie.
func ProcessOf(pid int) (Process, error) {
	s, err := StatOf(pid)
	return s.Process, err
}

// StatOf reads the process that has this pid now, be it a zombie. The error is
// ErrGone where no process has it.
func StatOf(pid int) (Stat, error) { return statOf(pid, "/proc/"+strconv.Itoa(pid)+"/stat") }

// StatOfThread reads a thread of a process in the same way: the start is the thread's.
func StatOfThread(pid, tid int) (Stat, error) {
	return statOf(tid, "/proc/"+strconv.Itoa(pid)+"/task/"+strconv.Itoa(tid)+"/stat")
}

func statOf(pid int, file string) (Stat, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return Stat{}, fmt.Errorf("read process %d: %w: %w", pid, ErrGone, err)
	}
	if err != nil {
		return Stat{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	s, err := parseStat(b)
	if err != nil {
		return Stat{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	s.Process.PID = pid
	return s, nil
}

// parseStat reads what do_task_stat in fs/proc/array.c writes. The command, in
// parentheses, may hold anything: what follows counts from the last parenthesis.
func parseStat(b []byte) (s Stat, err error) {
	begin, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if begin < 0 || end < begin {
		return Stat{}, errors.New("no command in its stat")
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 || len(f[0]) != 1 {
		return Stat{}, errors.New("short stat")
	}
	s.Command, s.State = string(b[begin+1:end]), State(f[0][0])
	if s.Parent, err = strconv.Atoi(f[1]); err != nil {
		return Stat{}, fmt.Errorf("parent: %w", err)
	}
	s.Process.Start, err = strconv.ParseUint(f[19], 10, 64)
	return s, err
}

// State reads the state of this very process. The error is ErrNone for the zero
// value, and ErrGone where the process is no more, whoever has its pid now.
func (p Process) State() (State, error) {
	if p.PID == 0 {
		return 0, ErrNone
	}
	s, err := StatOf(p.PID)
	if err != nil {
		return 0, err
	}
	if s.Process != p {
		return 0, fmt.Errorf("read process %d: %w: another has its pid", p.PID, ErrGone)
	}
	return s.State, nil
}

// Alive reports whether this very process still runs; a zombie does not. What
// cannot be read counts as not running.
func (p Process) Alive() bool {
	state, err := p.State()
	return err == nil && !state.Ended()
}

// Zombie reports whether this very process has ended and is still to be waited for.
func (p Process) Zombie() bool {
	state, err := p.State()
	return err == nil && state.Zombie()
}

// userHZ is the unit of the times in /proc/pid/stat on every architecture that Go
// and KVM share.
const userHZ = 100

// Started returns when the process was started, to 10 ms: the kernel tells no
// better. It is the zero time for the zero process.
func (p Process) Started() time.Time {
	if p.PID == 0 {
		return time.Time{}
	}
	return ktime.Boot().Add(time.Duration(p.Start) * (time.Second / userHZ))
}
