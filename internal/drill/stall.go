package drill

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox/network"
)

// What makes a VMM stand still without ending it.

// From include/uapi/linux/userfaultfd.h.
const (
	uffdAPI             = 0xAA
	uffdioAPI           = 0xc018aa3f
	uffdioRegister      = 0xc020aa00
	uffdRegisterMissing = 1
)

// stall has a thread of this process wait for ever for a page that a handler is to give
// it: such as a Firecracker whose snapshot's memory is no longer served. The thread is in a
// system call, so that the others go on.
func stall() error {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return fmt.Errorf("userfaultfd: %w", errno)
	}
	api := struct{ api, features, ioctls uint64 }{api: uffdAPI}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uffdioAPI, uintptr(unsafe.Pointer(&api))); errno != 0 {
		return fmt.Errorf("userfaultfd: %w", errno)
	}
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("userfaultfd: %w", err)
	}
	register := struct{ start, length, mode, ioctls uint64 }{uint64(uintptr(unsafe.Pointer(&page[0]))), uint64(len(page)), uffdRegisterMissing, 0}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uffdioRegister, uintptr(unsafe.Pointer(&register))); errno != 0 {
		return fmt.Errorf("userfaultfd: %w", errno)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	go func() {
		defer r.Close()
		_, _ = unix.Write(int(w.Fd()), page) // it never returns
	}()
	return nil
}

func stalling(s *standIn) *standIn {
	s.Stalls = true
	return s
}

// askGuest is a client that asks for the guest of a slot, for as long as a drill takes.
func askGuest(s network.Slot) {
	to := netip.AddrPortFrom(s.GuestIP(), e2b.EnvdPort)
	for end := time.Now().Add(2 * foreignBoot); time.Now().Before(end); time.Sleep(askEvery) {
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		conn, err := netns.DialTCP(ctx, netns.Path(s.Netns()), to)
		cancel()
		if err == nil {
			_ = conn.Close() // nobody has answered so far
		}
	}
}

// groupFile is a file of a control group, and what is written to it and back.
type groupFile struct{ name, write, back string }

// freeze has a process stand still by its control group.
func freeze(pid int) (undo func() error, err error) {
	return inGroup(pid, []groupFile{{"cgroup.freeze", "1", "0"}, {"freezer.state", "FROZEN", "THAWED"}})
}

// inGroup puts a process into a control group of its own, and writes to the first of these
// files that such a group has here. undo takes both back.
func inGroup(pid int, files []groupFile) (undo func() error, err error) {
	roots, err := filepath.Glob("/sys/fs/cgroup/*")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		for _, root := range append([]string{"/sys/fs/cgroup"}, roots...) {
			dir := filepath.Join(root, "tapwatch-drill-"+strconv.Itoa(pid))
			if os.Mkdir(dir, 0o755) != nil {
				continue
			}
			if _, err := os.Stat(filepath.Join(dir, f.name)); err != nil {
				_ = os.Remove(dir) // another hierarchy
				continue
			}
			was, err := groupIn(pid, root)
			if err == nil {
				err = writeTo(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
			}
			if err == nil {
				err = writeTo(filepath.Join(dir, f.name), f.write)
			}
			undo := func() error {
				err := writeTo(filepath.Join(dir, f.name), f.back)
				return joinNotNil(err, writeTo(filepath.Join(was, "cgroup.procs"), strconv.Itoa(pid)), os.Remove(dir))
			}
			if err != nil {
				return nil, joinNotNil(err, undo())
			}
			return undo, nil
		}
	}
	return nil, fmt.Errorf("no control group here has %s", files[0].name)
}

// groupIn is the directory of the group that a process is in, in the hierarchy that is
// mounted at root.
func groupIn(pid int, root string) (string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		controllers := strings.Split(parts[1], ",")
		if parts[0] == "0" && (root == "/sys/fs/cgroup" || filepath.Base(root) == "unified") || slices.ContainsFunc(strings.Split(filepath.Base(root), ","), func(c string) bool { return slices.Contains(controllers, c) }) {
			return filepath.Join(root, parts[2]), nil
		}
	}
	return root, nil
}

func writeTo(file, text string) error { return os.WriteFile(file, []byte(text), 0o600) }
