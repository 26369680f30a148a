package discover

import (
	"cmp"
	"maps"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespaces without a name are seen by the processes and threads in them. An
// inode tells them apart as long as they live, and reading it opens nothing; which
// namespace it is says the cookie, at the merge. What changes its namespace late
// in its life is found by the next full scan, and so are threads that are
// elsewhere than their process.

// member is a process in a namespace, or a thread that is elsewhere than its
// process.
type member struct {
	pid int
	tid int // 0: the process
}

// path is the file by which the member's namespace is entered.
func (m member) path() string {
	if m.tid == 0 {
		return nsPath(m.pid)
	}
	return taskPath(m.pid) + "/" + strconv.Itoa(m.tid) + "/ns/net"
}

func taskPath(pid int) string { return procDir(pid) + "/task" }

// before orders members: processes first, since threads come and go.
func (m member) before(o member) bool {
	return cmp.Or(cmp.Compare(min(m.tid, 1), min(o.tid, 1)), cmp.Compare(m.pid, o.pid), cmp.Compare(m.tid, o.tid)) < 0
}

// lookOutside chooses for each namespace that is not ours the member to enter it
// by: the same one as long as it is there.
func (p *procs) lookOutside() {
	outside := map[uint64]member{}
	add := func(inode uint64, m member) {
		if was, there := outside[inode]; !there || m.before(was) {
			outside[inode] = m
		}
	}
	for pid, s := range p.seen {
		if s.netns != 0 {
			add(s.netns, member{pid: pid})
		}
		for inode, tid := range s.threads {
			add(inode, member{pid, tid})
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

// threadsOf returns the inodes of the namespaces that threads of a process are in
// and neither it nor we are, each with a thread; nil mostly. Our own threads are
// passed over: they are elsewhere for a moment only.
func (p *procs) threadsOf(pid int, process uint64) (elsewhere map[uint64]int) {
	const alone = 3 // links of a directory of one thread
	var st unix.Stat_t
	if pid == p.pid || unix.Stat(taskPath(pid), &st) != nil || st.Nlink <= alone {
		return nil
	}
	tids, err := listNumbers(taskPath(pid), p.buf, int(st.Nlink))
	if err != nil {
		return nil // it has gone meanwhile
	}
	for tid := range tids {
		inode := inodeOfLink(member{pid, tid}.path())
		if inode == 0 || inode == p.self || inode == process {
			continue
		}
		if elsewhere == nil {
			elsewhere = map[uint64]int{}
		}
		if was, there := elsewhere[inode]; !there || tid < was {
			elsewhere[inode] = tid
		}
	}
	return elsewhere
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
