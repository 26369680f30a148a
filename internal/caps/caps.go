// Package caps reads and gives up capabilities.
package caps

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Cap is one capability, by its number in linux/capability.h (unix.CAP_*).
type Cap uint

// names has the capabilities that this module uses.
var names = map[Cap]string{
	unix.CAP_NET_BROADCAST: "CAP_NET_BROADCAST",
	unix.CAP_NET_ADMIN:     "CAP_NET_ADMIN",
	unix.CAP_SYS_PTRACE:    "CAP_SYS_PTRACE",
	unix.CAP_SYS_ADMIN:     "CAP_SYS_ADMIN",
	unix.CAP_PERFMON:       "CAP_PERFMON",
	unix.CAP_BPF:           "CAP_BPF",
}

// String is the name in linux/capability.h, e.g. CAP_NET_ADMIN.
func (c Cap) String() string {
	if n, ok := names[c]; ok {
		return n
	}
	return "capability " + strconv.Itoa(int(c))
}

// Set is capabilities, a bit each.
type Set uint64

// Has says whether c is in the set.
func (s Set) Has(c Cap) bool { return s&(1<<c) != 0 }

// With returns the set and c.
func (s Set) With(c Cap) Set { return s | 1<<c }

// Own returns the effective capabilities of the calling thread.
func Own() (Set, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	return Set(data[0].Effective) | Set(data[1].Effective)<<32, nil
}

// Parse reads a set as /proc/PID/status has it, e.g. in its line CapEff. The rights
// are those in the process's own user namespace.
func Parse(hex string) (Set, error) {
	n, err := strconv.ParseUint(hex, 16, 64)
	return Set(n), err
}

// ErrCgo is returned by Keep where other threads than Go's may exist.
var ErrCgo = errors.New("drop capabilities: not possible in a binary made with cgo")

// capset is what capset(2) takes, version 3.
type capset struct {
	hdr  unix.CapUserHeader
	data [2]unix.CapUserData
}

// Keep gives up, for good and for all threads, all capabilities that are not in the
// set; those of the set must be held. Programs that the process executes later get
// no others either. It needs a binary without cgo and returns ErrCgo in others.
func Keep(s Set) error {
	keep := &capset{hdr: unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}} // on the heap: the threads read it by address
	for i := range keep.data {
		half := uint32(s >> (32 * i))
		keep.data[i].Effective, keep.data[i].Permitted = half, half
	}
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == 0 {
		_, _, errno = syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	}
	if errno == 0 {
		_, _, errno = syscall.AllThreadsSyscall(unix.SYS_CAPSET,
			uintptr(unsafe.Pointer(&keep.hdr)), uintptr(unsafe.Pointer(&keep.data[0])), 0)
	}
	if errors.Is(errno, unix.ENOTSUP) {
		return ErrCgo
	}
	if errno != 0 {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	return nil
}
