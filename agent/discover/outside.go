package discover

import (
	"maps"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespaces without a name are seen by the processes in them. An inode tells
// them apart as long as they live, and reading it opens nothing; which namespace
// it is says the cookie, at the merge. A process that changes its namespace late
// in its life is found by the next full scan; threads that are elsewhere than
// their process are not looked for.

// lookOutside chooses for each namespace that is not ours the process to enter
// it by: the same one as long as it is there.
func (p *procs) lookOutside() {
	outside := map[uint64]int{}
	for pid, s := range p.seen {
		if s.netns == 0 {
			continue
		}
		if was, there := outside[s.netns]; !there || pid < was {
			outside[s.netns] = pid
		}
	}
	if !maps.Equal(outside, p.outside) {
		p.outside = outside
		p.changed = true
	}
}

// netnsOf returns the inode of a process's namespace; 0 where it is ours, or
// where it cannot be read: of a zombie, or without CAP_SYS_PTRACE.
func (p *procs) netnsOf(pid int) uint64 {
	if inode := inodeOfLink(nsPath(pid)); inode != p.self {
		return inode
	}
	return 0
}

// inodeOfLink reads what /proc calls a namespace, net:[4026531840]; 0 where it
// cannot.
func inodeOfLink(path string) uint64 {
	var buf [64]byte
	n, err := unix.Readlink(path, buf[:])
	if err != nil {
		return 0
	}
	text, ok := strings.CutPrefix(string(buf[:n]), "net:[")
	inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64)
	if !ok || err != nil {
		return 0
	}
	return inode
}
