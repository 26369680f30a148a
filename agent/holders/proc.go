package holders

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// Where the kernel has no iterator, holders are read from /proc: some ten times
// slower, and each tap that is found takes RTNL once. It needs CAP_SYS_PTRACE for
// others' processes and CAP_SYS_ADMIN for the namespaces that their taps are in.

// tunMajor and tunMinor are /dev/net/tun, by whatever name a process opened it.
const tunMajor, tunMinor = 10, 200

// byProc lists what the iterator does. A process that may not be looked
// into is an error: a tap that it holds must not pass for one that nobody has.
func byProc() (holders []Holder, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("read holders from /proc: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		of, err := holdingsOf(pid)
		if err != nil && !hasGone(err) {
			return nil, fmt.Errorf("read holders from /proc: process %d: %w", pid, err)
		}
		holders = append(holders, of...)
	}
	return holders, nil
}

// hasGone says whether a process ended, or closed a file, while it was looked at.
func hasGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EBADF)
}

// holdingsOf lists the taps that one process holds.
func holdingsOf(pid int) (holders []Holder, err error) {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || !isTun(int(dir.Fd()), name) {
			continue
		}
		h, held, err := holdingOf(pid, fd)
		if err != nil && !hasGone(err) {
			return nil, err
		}
		if held && err == nil {
			holders = append(holders, h)
		}
	}
	return holders, nil
}

// isTun asks for a file's device, and for nothing that a hung file system would
// have to answer.
func isTun(dir int, name string) bool {
	var st unix.Statx_t
	err := unix.Statx(dir, name, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev_major == tunMajor && st.Rdev_minor == tunMinor
}

// holdingOf describes one open /dev/net/tun; held is false where it is not
// attached to a device.
func holdingOf(pid, fd int) (h Holder, held bool, err error) {
	proc := "/proc/" + strconv.Itoa(pid)
	info, err := os.ReadFile(proc + "/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return h, false, err
	}
	h = Holder{PID: pid, FD: fd, TapName: tapName(info)}
	if h.TapName == "" {
		return h, false, nil
	}
	if h.Tap, err = tapOf(pid, fd, h.TapName); err != nil {
		return h, false, err
	}
	comm, err := os.ReadFile(proc + "/comm")
	if err != nil {
		return h, false, err
	}
	h.Command = string(bytes.TrimSuffix(comm, []byte("\n")))
	h.ProcessNetns, err = netns.CookieOf(proc + "/ns/net")
	return h, true, err
}

// tapName reads the line "iff:" of an fdinfo; empty where it is not there.
func tapName(fdinfo []byte) string {
	for line := range bytes.Lines(fdinfo) {
		if v, ok := bytes.CutPrefix(line, []byte("iff:")); ok {
			return string(bytes.TrimSpace(v))
		}
	}
	return ""
}

// tapOf finds out which device a queue is of. fdinfo has its name only, and the
// holder may sit in another namespace, so the queue itself is asked, by a
// duplicate that is open for some microseconds.
func tapOf(pid, fd int, name string) (d netns.Device, err error) {
	ns, err := tapNetns(pid, fd)
	if err != nil {
		return d, err
	}
	defer ns.Close()
	err = netns.Do("/proc/self/fd/"+strconv.Itoa(int(ns.Fd())), func() error {
		if d.Netns, err = netns.Current(); err != nil {
			return err
		}
		l, err := netlink.LinkByName(name)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return fmt.Errorf("%w: %w", fs.ErrNotExist, err) // renamed or gone meanwhile
		}
		if err == nil {
			d.Ifindex = netns.Ifindex(l.Attrs().Index)
		}
		return err
	})
	return d, err
}

// tapNetns opens the namespace of a queue's device.
func tapNetns(pid, fd int) (*os.File, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process: %w", err)
	}
	defer unix.Close(process)
	queue, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return nil, fmt.Errorf("open its tap: %w", err)
	}
	defer unix.Close(queue)
	ns, err := unix.IoctlRetInt(queue, unix.TUNGETDEVNETNS)
	if err != nil {
		return nil, fmt.Errorf("find its tap's namespace: %w", err)
	}
	return os.NewFile(uintptr(ns), "namespace of a tap"), nil
}
