package discover

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/identity"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

// VMM is a process that says it is a VMM, or that holds a tap. It is never changed.
type VMM struct {
	Process  proc.Process
	Started  time.Time
	Command  string       // as /proc/PID/comm has it
	Parent   int          // pid
	Netns    netns.Cookie // where it is; 0: could not be read
	Inode    uint64       // of that namespace
	Identity identity.Identity
	// Zombie is set where it has ended and nobody has waited for it: its launcher
	// still counts on it.
	Zombie bool
}

// argsMost bounds how much of a command line is read.
const argsMost = 4096

func procDir(pid int) string { return "/proc/" + strconv.Itoa(pid) }

// basicFacts reads what tells most processes from VMMs. What cannot be read is empty.
func basicFacts(s proc.Stat) identity.Facts {
	dir := procDir(s.Process.PID)
	f := identity.Facts{Command: s.Command, UID: identity.NoUID, Exe: strings.TrimSuffix(linkAt(dir+"/exe"), " (deleted)")}
	var st unix.Stat_t
	if unix.Stat(dir, &st) == nil {
		f.UID = st.Uid
	}
	return f
}

// moreFacts reads the rest of what rules may ask for.
func moreFacts(pid int, f *identity.Facts) {
	dir := procDir(pid)
	f.Root, f.Cwd, f.Cgroup = linkAt(dir+"/root"), linkAt(dir+"/cwd"), cgroupOf(dir)
}

func argsOf(dir string) []string {
	fd, err := unix.Open(dir+"/cmdline", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var buf [argsMost]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil || n == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(buf[:n], []byte{0})), "\x00")
}

func linkAt(file string) string {
	var buf [512]byte
	n, err := unix.Readlink(file, buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// cgroupOf returns the path of the unified hierarchy, else the first that has one.
func cgroupOf(dir string) (first string) {
	b, err := os.ReadFile(dir + "/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[0] == "0" && parts[2] != "/" {
			return parts[2]
		}
		if len(parts[2]) > len(first) {
			first = parts[2]
		}
	}
	return first
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
