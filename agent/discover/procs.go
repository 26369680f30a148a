package discover

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
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
	lines   map[int]string    // their command lines
	dead    map[int]time.Time // of those, since when a zombie
	outside map[uint64]member // inode of a namespace that is not ours: who is in it
	self    uint64            // inode of our own namespace
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
}

func newProcs(w *who) *procs {
	return &procs{who: w, seen: map[int]sighting{}, found: map[int]*VMM{}, lines: map[int]string{}, dead: map[int]time.Time{}, self: inodeOfLink("/proc/thread-self/ns/net"), buf: make([]byte, 64<<10)}
}

// scan looks for VMMs in new and young processes, in all of them where full is
// set, and checks those that were found before.
func (p *procs) scan(now time.Time, full bool) error {
	there, err := p.list()
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	p.read = 0
	for pid, inode := range there {
		s, known := p.seen[pid]
		if !known || s.inode != inode {
			s = sighting{inode: inode, first: now}
			p.seen[pid] = s
			p.lose(pid)
		}
		if _, is := p.found[pid]; is || full || now.Sub(s.first) < young {
			p.look(pid, now)
			s.netns = p.netnsOf(pid)
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

// look reads one process. What cannot be read has ended, or is a zombie: a VMM that
// was known stays known as one, for what it holds up is its sandbox.
func (p *procs) look(pid int, now time.Time) {
	p.read++
	line := p.cmdline(pid)
	v := p.found[pid]
	if len(line) == 0 {
		if v != nil && v.Process.Zombie() {
			p.died(v, now)
			return
		}
		p.lose(pid)
		return
	}
	if v != nil && v.Netns != 0 && p.lines[pid] == string(line) {
		return
	}
	text := string(line)
	is, ok := p.who.claimant(pid, text)
	if !ok {
		p.lose(pid)
		return
	}
	p.found[pid], p.lines[pid] = is, text
	p.changed = true
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

func (p *procs) lose(pid int) {
	delete(p.dead, pid)
	delete(p.lines, pid)
	if _, ok := p.found[pid]; ok {
		delete(p.found, pid)
		p.changed = true
	}
}

func nsPath(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/ns/net" }

// cmdline returns the arguments of a process, as far as the buffer goes; empty
// for zombies, kernel threads and pids that are gone. It holds until the next call.
func (p *procs) cmdline(pid int) []byte {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/cmdline", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, p.buf[:argsMost])
	if err != nil {
		return nil
	}
	return p.buf[:n]
}

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
