package discover

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// filesLookedAt bounds how many open files of a VMM are looked at for a log.
const filesLookedAt = 64

// consoleOf finds where the guest's console is kept: a VMM writes it to its standard
// output, or to a file that it opened for writing alone. What it shares with its parent is
// the launcher's own log, where others' words stand too. The name is that of the process,
// if the same file has it here. Empty: a pipe, a terminal, or unknown.
func consoleOf(pid, parent int) string {
	dir := procDir(pid)
	shared := []string{linkAt(procDir(parent) + "/fd/1"), linkAt(procDir(parent) + "/fd/2")}
	for _, fd := range append([]string{"1", "2"}, openFiles(dir)...) {
		to := linkAt(dir + "/fd/" + fd)
		if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "/dev/") || strings.HasPrefix(to, "/memfd:") || strings.HasPrefix(to, "/proc/") ||
			slices.Contains(shared, to) || !writes(dir, fd) {
			continue
		}
		if file := dir + "/fd/" + fd; !sameFile(file, to) {
			return file
		}
		return to
	}
	return ""
}

// sameFileWait is how long a file may take to be looked up: it may lie on a disk that hangs.
const sameFileWait = 20 * time.Millisecond

// sameFile says whether two names are known to be those of one file.
func sameFile(a, b string) bool {
	same := make(chan bool, 1)
	go func() {
		x, err := os.Stat(a)
		y, err2 := os.Stat(b)
		same <- err == nil && err2 == nil && os.SameFile(x, y)
	}()
	select {
	case is := <-same:
		return is
	case <-time.After(sameFileWait):
		return false
	}
}

// openFiles lists the numbers of a process's open files above its standard ones, the first.
func openFiles(dir string) (fds []string) {
	d, err := os.Open(dir + "/fd")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(filesLookedAt)
	if err != nil {
		return nil
	}
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n > 2 {
			fds = append(fds, name)
		}
	}
	return fds
}

// writes says whether a file is open for writing alone, as logs are. fdinfo has the flags
// in octal.
func writes(dir, fd string) bool {
	var buf [256]byte
	for line := range strings.Lines(string(readInto(dir+"/fdinfo/"+fd, buf[:]))) {
		if value, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseUint(strings.TrimSpace(value), 8, 64)
			return err == nil && flags&unix.O_ACCMODE == unix.O_WRONLY
		}
	}
	return false
}
