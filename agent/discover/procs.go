package discover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/identity"
	"tapwatch/internal/proc"
)

// young is how long a process is read again at each scan: `ip netns exec` and
// the shells around it become Firecracker under the pid that they have.
const young = 10 * time.Second

// unreaped is how long a VMM may be a zombie before that is more than its end.
const unreaped = time.Second

// procs finds VMMs among the processes of the host, and namespaces other than
// ours that processes are in. A process is known by its pid and the inode of its
// directory, which lives and dies with it: the names of old processes need no
// look into them.
type procs struct {
	seen    map[int]sighting
	who     *who
	found   map[int]*VMM
	rules   *identity.Set     // by which the processes were judged
	dead    map[int]time.Time // of those found, since when a zombie
	outside map[uint64]member // inode of a namespace that is not ours: who is in it
	self    uint64            // inode of our own namespace
	pid     int               // our own, as /proc has it
	seed    maphash.Seed
	buf     []byte
	read    int  // command lines read in the last scan
	changed bool // found or outside, since the last merge
}

type sighting struct {
	inode uint64
	first time.Time
	netns uint64 // inode of its namespace; 0: ours, or not to be read
	// threads are those elsewhere, by the inode of their namespace, as the last
	// full scan saw them; nil mostly.
	threads map[uint64]int
	judged  judged
}

// judged is what a process looked like when the rules were asked about it. Old
// processes that look the same are not asked about again. The zero value is of none.
type judged struct {
	line  uint64 // hash of its command line
	netns uint64 // as in sighting
	name  string // of that namespace
}

func newProcs(w *who) *procs {
	return &procs{
		who: w, seen: map[int]sighting{}, found: map[int]*VMM{}, dead: map[int]time.Time{},
		self: w.self, pid: ownPID(), seed: maphash.MakeSeed(), buf: make([]byte, 64<<10),
	}
}

// scan looks for VMMs in new and young processes, in all of them where full is
// set, and checks those that were found before.
func (p *procs) scan(now time.Time, full bool) error {
	there, err := p.list()
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	p.read = 0
	p.renew()
	for pid, inode := range there {
		s, known := p.seen[pid]
		if !known || s.inode != inode {
			s = sighting{inode: inode, first: now}
			p.seen[pid] = s
			p.lose(pid)
		}
		if _, is := p.found[pid]; is || full || now.Sub(s.first) < young {
			s.netns = p.netnsOf(pid)
			p.look(pid, &s, now)
			if full {
				s.threads = p.threadsOf(pid, s.netns)
			}
			p.seen[pid] = s
		}
	}
	for pid := range p.seen {
		if _, ok := there[pid]; !ok {
			delete(p.seen, pid)
			p.lose(pid)
		}
	}
	p.lookOutside()
	return nil
}

// renew forgets how processes were judged, if that was by other rules.
func (p *procs) renew() {
	rules := p.who.rules.Load()
	if rules == p.rules {
		return
	}
	p.rules = rules
	for pid, s := range p.seen {
		s.judged = judged{}
		p.seen[pid] = s
	}
}

// again asks the rules about the VMMs that were found.
func (p *procs) again(now time.Time) {
	p.renew()
	for pid := range p.found {
		s := p.seen[pid]
		p.look(pid, &s, now)
		p.seen[pid] = s
	}
}

// look reads one process. One without a command line has ended, or is a zombie: a VMM
// that was known stays known as one, for what it holds up is its sandbox. So does one
// that cannot be read now, such as where no file descriptor is left.
func (p *procs) look(pid int, s *sighting, now time.Time) {
	p.read++
	line := readArgs(procDir(pid), p.buf[:argsMost])
	as := judged{line: maphash.Bytes(p.seed, line), netns: s.netns, name: p.who.name(s.netns)}
	v := p.found[pid]
	if len(line) > 0 && as == s.judged && now.Sub(s.first) >= young && (v == nil || v.Netns != 0) {
		return
	}
	s.judged = judged{}
	is, ok := (*VMM)(nil), false
	if len(line) > 0 {
		is, ok = p.who.claimant(pid, splitArgs(line))
	}
	state, unread := proc.State(0), error(nil)
	if !ok && v != nil {
		state, unread = v.Process.State()
	}
	switch {
	case unread != nil && !errors.Is(unread, proc.ErrGone):
		return
	case state.Zombie():
		p.died(v, now)
		return
	case !ok:
		p.lose(pid)
	case !is.same(v):
		p.found[pid] = is
		p.changed = true
	}
	if len(line) > 0 {
		s.judged = as
	}
}

// died notes a VMM that is a zombie. Every process is one for an instant.
func (p *procs) died(v *VMM, now time.Time) {
	first, known := p.dead[v.Process.PID]
	if !known {
		p.dead[v.Process.PID] = now
		return
	}
	if !v.Zombie && now.Sub(first) >= unreaped {
		z := *v
		z.Zombie = true
		p.found[v.Process.PID] = &z
		p.changed = true
	}
}

// ownPID is our number in /proc, which may show another PID namespace than ours.
func ownPID() int {
	pid, err := strconv.Atoi(linkAt("/proc/self"))
	if err != nil {
		return os.Getpid()
	}
	return pid
}

func (p *procs) lose(pid int) {
	delete(p.dead, pid)
	if _, ok := p.found[pid]; ok {
		delete(p.found, pid)
		p.changed = true
	}
}

func nsPath(pid int) string { return procDir(pid) + "/ns/net" }

// list returns the pids of /proc with the inodes of their directories.
func (p *procs) list() (map[int]uint64, error) { return listNumbers("/proc", p.buf, len(p.seen)) }

// listNumbers returns the entries of a directory whose names are numbers, with
// their inodes: about so many. It reads by way of buf.
func listNumbers(dir string, buf []byte, about int) (map[int]uint64, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	numbers := make(map[int]uint64, about)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return numbers, nil
		}
		eachDirent(buf[:n], func(inode uint64, name string) {
			if number, err := strconv.Atoi(name); err == nil {
				numbers[number] = inode
			}
		})
	}
}

// eachDirent walks struct linux_dirent64, as getdents(2) describes it.
func eachDirent(b []byte, fn func(inode uint64, name string)) {
	const nameAt = 19
	for len(b) > nameAt {
		n := int(binary.NativeEndian.Uint16(b[16:]))
		if n <= nameAt || n > len(b) {
			return
		}
		fn(binary.NativeEndian.Uint64(b), unix.ByteSliceToString(b[nameAt:n]))
		b = b[n:]
	}
}
