package discover

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tapwatch/agent/identity"
	"tapwatch/internal/proc"
)

// argsMost is how many bytes of a command line are read; the kernel keeps megabytes.
const argsMost = 16 << 10

func procDir(pid int) string { return "/proc/" + strconv.Itoa(pid) }

// factsOf reads what rules may ask of a process, but for its user and its namespace.
// What cannot be read is empty.
func factsOf(s proc.Stat, args []string) identity.Facts {
	dir := procDir(s.Process.PID)
	return identity.Facts{
		Command: s.Command, Args: args, UID: identity.NoUID,
		Exe:  strings.TrimSuffix(linkAt(dir+"/exe"), " (deleted)"),
		Root: rootOf(dir), Cwd: linkAt(dir + "/cwd"), Cgroup: cgroupOf(dir),
	}
}

// userOf returns the user that a process answers to. Who starts a setuid program
// chooses its arguments, so where the real and the effective user differ it is the one
// that is not root.
func userOf(pid int) uint32 {
	u, err := proc.UserOf(pid)
	switch {
	case err != nil:
		return identity.NoUID
	case u.Real != 0:
		return u.Real
	}
	return u.Effective
}

// readArgs reads a command line into buf: its arguments, each ended by a zero byte. It
// is empty for zombies, for kernel threads and for pids that have gone. An argument
// that does not fit whole is left out.
func readArgs(dir string, buf []byte) []byte {
	line := readInto(dir+"/cmdline", buf)
	if len(line) == len(buf) {
		if whole := bytes.LastIndexByte(line, 0) + 1; whole > 0 {
			return line[:whole]
		}
	}
	return line
}

// readInto reads the beginning of a file, as much as buf holds; os.ReadFile would take
// twice the calls.
func readInto(file string, buf []byte) []byte {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err != nil || n <= 0 {
		return nil
	}
	return buf[:n]
}

func splitArgs(line []byte) []string {
	if len(line) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")
}

// linkAt reads where a link of /proc leads, "" where that cannot be read.
func linkAt(file string) string {
	var buf [unix.PathMax]byte
	n, err := unix.Readlink(file, buf[:])
	if err != nil || n == len(buf) { // a part of a path is another path
		return ""
	}
	return string(buf[:n])
}

// rootOf returns the root directory of a process. A jailer calls pivot_root, after
// which /proc/PID/root leads to "/"; the directory is then in the process's mounts.
func rootOf(dir string) string {
	root := linkAt(dir + "/root")
	if root != "/" {
		return root
	}
	if mounts := linkAt(dir + "/ns/mnt"); mounts == "" || mounts == linkAt("/proc/self/ns/mnt") {
		return root
	}
	b, err := os.ReadFile(dir + "/mountinfo")
	if err != nil {
		return root
	}
	return mountedRoot(string(b))
}

// mountedRoot returns which directory of its file system is mounted at "/", from
// show_mountinfo in fs/proc_namespace.c: the fourth field is the directory, the fifth
// the mount point. Of several mounts the last one covers the others.
func mountedRoot(mountinfo string) string {
	root := "/"
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			root = unescape.Replace(f[3])
		}
	}
	return root
}

// unescape undoes what mangle in fs/seq_file.c does to blanks.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// cgroupOf returns the path in the unified hierarchy, else the longest of the others.
func cgroupOf(dir string) (longest string) {
	var buf [4096]byte // a path of 255 in each of 14 hierarchies
	for line := range bytes.Lines(readInto(dir+"/cgroup", buf[:])) {
		line, whole := bytes.CutSuffix(line, []byte{'\n'})
		parts := bytes.SplitN(line, []byte{':'}, 3)
		if len(parts) != 3 || !whole {
			continue
		}
		path := string(parts[2])
		if string(parts[0]) == "0" && path != "/" {
			return path
		}
		if len(path) > len(longest) {
			longest = path
		}
	}
	return longest
}
