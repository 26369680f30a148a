package discover

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tapwatch/agent/identity"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

// who says of processes whose VMM they are, by the rules in force. It may be used from
// any goroutine.
type who struct {
	rules atomic.Pointer[identity.Set]
	names atomic.Pointer[map[uint64]string] // of namespaces, by inode
	self  uint64                            // inode of the agent's own namespace
	young time.Duration                     // the constant of that name

	groups groups

	mu    sync.Mutex
	known map[holding]holder
}

// holding is a process and the tap that it was asked about for.
type holding struct {
	process      proc.Process
	device, kind string
}

// holder is who a process was found to be, in a namespace of that name.
type holder struct {
	vmm   *VMM
	netns string
}

func newWho(rules *identity.Set) *who {
	w := &who{self: inodeOfLink(netns.Own), young: young, known: map[holding]holder{}}
	w.rules.Store(rules)
	w.names.Store(&map[uint64]string{})
	return w
}

// use has other rules in force.
func (w *who) use(rules *identity.Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules.Store(rules)
	clear(w.known)
}

// name returns the name of the namespace with an inode, "" where it has none.
func (w *who) name(inode uint64) string { return (*w.names.Load())[inode] }

// claimant reads a process of that command line, if the rules believe that it is a VMM.
// Most are none: only of the others its user and its namespace are read as well.
func (w *who) claimant(pid int, args []string) (*VMM, bool) {
	s, err := proc.StatOf(pid)
	if err != nil || s.State.Ended() {
		return nil, false
	}
	rules := w.rules.Load()
	f := factsOf(s, args)
	w.within(&f, inodeOfLink(nsPath(pid)))
	if rules.Claim(f) == identity.NoClaim {
		return nil, false
	}
	f.UID = userOf(pid)
	v, ok := w.read(s, &f)
	if !ok || !rules.Claims(f) {
		return nil, false
	}
	v.Identity = w.groups.bounded(rules.Identify(f))
	return v, true
}

// holder reads a process that holds a tap. The process is believed: it had to be
// allowed to open the tap. An old process is read once for each tap, as long as its
// namespace keeps its name: a young one may yet become another program.
func (w *who) holder(pid int, device, kind string) (*VMM, bool) {
	s, err := proc.StatOf(pid)
	if err != nil || s.State.Ended() {
		return nil, false
	}
	k := holding{s.Process, device, kind}
	w.mu.Lock()
	rules, was := w.rules.Load(), w.known[k]
	w.mu.Unlock()
	if was.vmm != nil && was.netns == w.name(was.vmm.Inode) {
		return was.vmm, true
	}
	f := factsOf(s, splitArgs(readArgs(procDir(pid), make([]byte, argsMost))))
	f.Device, f.Kind, f.UID = device, kind, userOf(pid)
	v, ok := w.read(s, &f)
	if !ok {
		return nil, false
	}
	v.Identity = w.groups.bounded(rules.Identify(f))
	if time.Since(v.Started) > w.young {
		w.mu.Lock()
		if w.rules.Load() == rules {
			w.known[k] = holder{v, f.Netns}
		}
		w.mu.Unlock()
	}
	return v, true
}

// forget forgets the processes that hold no tap any more.
func (w *who) forget(living map[proc.Process]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.known {
		if !living[k.process] {
			delete(w.known, k)
		}
	}
}

// within adds to the facts in which namespace the process is.
func (w *who) within(f *identity.Facts, inode uint64) {
	f.Host = inode != 0 && inode == w.self
	f.Netns = w.name(inode)
}

// read finds the namespace of the process and adds it to the facts. After that it asks
// whether the pid is still that process's, so that nothing is taken from the pid's next
// owner; false where the process has ended.
func (w *who) read(s proc.Stat, f *identity.Facts) (*VMM, bool) {
	v := &VMM{Process: s.Process, Started: s.Process.Started(), Command: s.Command, Parent: s.Parent, Console: consoleOf(s.Process.PID, s.Parent)}
	v.place()
	w.within(f, v.Inode)
	return v, stillThere(s)
}

// place finds the namespace that the process is in.
func (v *VMM) place() {
	file, err := os.Open(nsPath(v.Process.PID))
	if err != nil {
		return
	}
	defer file.Close()
	if v.Netns, err = netns.CookieOfFile(file); err == nil {
		v.Inode = inodeOf(file)
	}
}

// stillThere reports whether a pid is that process's still, and runs.
func stillThere(s proc.Stat) bool {
	now, err := proc.StatOf(s.Process.PID)
	return err == nil && now.Process == s.Process && !now.State.Ended()
}
