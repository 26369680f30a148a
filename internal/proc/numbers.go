package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// hostInode is the inode of the initial PID namespace: PROC_PID_INIT_INO of
// include/linux/proc_ns.h.
const hostInode = 0xEFFFFFFC

// Numbers says which pids /proc shows. Every PID namespace has numbers of its own, so
// a pid that was written elsewhere may be another process here.
type Numbers struct {
	// Inode is that of the PID namespace that /proc shows; 0: unknown.
	Inode uint32
	// Own says that the caller is in that namespace: system calls take the numbers of
	// /proc, and BPF iterators list all of its processes.
	Own bool
}

// Host says that /proc shows all processes of the host, and that the caller has their
// numbers too.
func (n Numbers) Host() bool { return n.Own && n.Inode == hostInode }

// KernelInode is Inode as BPF programs take it: 0 for the initial namespace.
func (n Numbers) KernelInode() uint32 {
	if n.Inode == hostInode {
		return 0
	}
	return n.Inode
}

// NumbersHere finds out which pids /proc shows here. An error means that nobody knows:
// no pid of /proc may then be taken for one that the kernel reports.
func NumbersHere() (n Numbers, err error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil { // a /proc that does not show its reader
		return n, fmt.Errorf("find out which pids /proc shows: %w", err)
	}
	depth, err := parseDepth(status)
	if err != nil {
		return n, fmt.Errorf("find out which pids /proc shows: %w", err)
	}
	n.Own = depth == 1
	of := "/proc/self/ns/pid"
	if !n.Own {
		// What is in the initial namespace is seen there only. Everybody may look into a
		// thread of the kernel.
		if inode, err := namespaceInode("/proc/2/ns/pid"); err == nil && inode == hostInode {
			n.Inode = inode
			return n, nil
		}
		of = "/proc/1/ns/pid" // process 1 of any PID namespace is in it itself
	}
	if n.Inode, err = namespaceInode(of); err != nil {
		return Numbers{}, fmt.Errorf("find out which pids /proc shows: %w", err)
	}
	return n, nil
}

// parseDepth counts the numbers that the reader has: one for each PID namespace from
// that of /proc down to its own.
func parseDepth(status []byte) (int, error) {
	pids, _ := statusLine(status, "NSpid:")
	if n := len(bytes.Fields(pids)); n > 0 {
		return n, nil
	}
	return 0, errors.New("no NSpid in its status")
}

// namespaceInode reads the link of a PID namespace, pid:[4026531836].
func namespaceInode(file string) (uint32, error) {
	text, err := os.Readlink(file)
	if err != nil {
		return 0, err
	}
	inode, ok := strings.CutPrefix(strings.TrimSuffix(text, "]"), "pid:[")
	n, err := strconv.ParseUint(inode, 10, 32)
	if !ok || err != nil {
		return 0, fmt.Errorf("%s leads to %q", file, text)
	}
	return uint32(n), nil
}
