package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"tapwatch/agent/probe"
)

// privilege is a capability that the agent uses.
type privilege struct {
	bit   uint
	name  string
	modes []probe.Mode // that use it; nil: all
	must  bool         // nothing works without it
}

// privileges is all that the agent uses, and what for; docs/operations.md has it
// for people.
var privileges = []privilege{
	{unix.CAP_BPF, "CAP_BPF", nil, true},                                                   // programs and maps
	{unix.CAP_PERFMON, "CAP_PERFMON", nil, true},                                           // programs that read the kernel's memory
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", nil, true},                                       // nsids, links by nsid, hooks
	{unix.CAP_NET_BROADCAST, "CAP_NET_BROADCAST", nil, true},                               // links of all namespaces
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", []probe.Mode{probe.ModeTC, probe.ModeTCX}, true}, // setns, for hooks on devices
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", []probe.Mode{"", probe.ModeAuto}, false},         // without it auto is tracepoint
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", nil, false},                                    // namespaces of others' processes
}

// privilegesOf returns what a mode uses.
func privilegesOf(m probe.Mode) (of []privilege) {
	for _, p := range privileges {
		if p.modes == nil || slices.Contains(p.modes, m) {
			of = append(of, p)
		}
	}
	return of
}

// capset is a thread's capabilities as capget(2) and capset(2) have them.
type capset struct {
	hdr  unix.CapUserHeader
	data [2]unix.CapUserData
}

// held returns the capabilities of this thread.
func held() (*capset, error) {
	c := &capset{hdr: unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}}
	if err := unix.Capget(&c.hdr, &c.data[0]); err != nil {
		return nil, fmt.Errorf("read own capabilities: %w", err)
	}
	return c, nil
}

func (c *capset) has(bit uint) bool { return c.data[bit/32].Effective&(1<<(bit%32)) != 0 }

// needPrivileges says which capabilities are missing in a mode.
func needPrivileges(m probe.Mode) error {
	have, err := held()
	if err != nil {
		return err
	}
	var missing []string
	for _, p := range privilegesOf(m) {
		if p.must && !have.has(p.bit) {
			missing = append(missing, p.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the agent needs %s: run it as root", strings.Join(missing, ", "))
	}
	return nil
}

// heldPrivileges says of each capability that a mode uses whether it is there,
// under the names that the metric has for them.
func heldPrivileges(m probe.Mode) (map[string]bool, error) {
	have, err := held()
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, p := range privilegesOf(m) {
		all[strings.ToLower(p.name)] = have.has(p.bit)
	}
	return all, nil
}

// errCgo is returned where other threads than Go's may exist.
var errCgo = errors.New("drop capabilities: not possible in a binary made with cgo")

// dropPrivileges gives up, for good and for all threads, what a mode does not
// use. It needs a binary without cgo, as ours are, and returns errCgo in others.
func dropPrivileges(m probe.Mode) error {
	have, err := held()
	if err != nil {
		return err
	}
	keep := &capset{hdr: have.hdr} // on the heap: the threads read it by address
	for _, p := range privilegesOf(m) {
		if have.has(p.bit) {
			keep.data[p.bit/32].Effective |= 1 << (p.bit % 32)
			keep.data[p.bit/32].Permitted |= 1 << (p.bit % 32)
		}
	}
	// Nothing that is executed, should anything ever be, gets more again.
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == 0 {
		_, _, errno = syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	}
	if errno == 0 {
		_, _, errno = syscall.AllThreadsSyscall(unix.SYS_CAPSET,
			uintptr(unsafe.Pointer(&keep.hdr)), uintptr(unsafe.Pointer(&keep.data[0])), 0)
	}
	if errors.Is(errno, unix.ENOTSUP) {
		return errCgo
	}
	if errno != 0 {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	return nil
}
