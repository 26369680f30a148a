package discover

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// filesLookedAt bounds how many open files of a VMM are looked at for a log.
const filesLookedAt = 64

// consoleOf finds where the guest's console is kept: a VMM writes it to its standard
// output, or to a file that it opened for writing alone. What it shares with its parent is
// the launcher's own log, where others' words stand too. It reads links only, and no file:
// that may lie on a disk that hangs. Empty: a pipe, a terminal, or unknown.
func consoleOf(pid, parent int) string {
	dir := procDir(pid)
	shared := []string{linkAt(procDir(parent) + "/fd/1"), linkAt(procDir(parent) + "/fd/2")}
	for _, fd := range append([]string{"1", "2"}, openFiles(dir)...) {
		to := linkAt(dir + "/fd/" + fd)
		if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "/dev/") || strings.HasPrefix(to, "/memfd:") || strings.HasPrefix(to, "/proc/") ||
			slices.Contains(shared, to) || !writes(dir, fd) {
			continue
		}
		if strings.HasSuffix(to, " (deleted)") || linkAt(dir+"/root") != "/" || linkAt(dir+"/ns/mnt") != linkAt("/proc/self/ns/mnt") {
			return dir + "/fd/" + fd // the name is another file here, or none
		}
		return to
	}
	return ""
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
