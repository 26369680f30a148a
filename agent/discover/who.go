package discover

import (
	"os"
	"strings"
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
	self  atomic.Uint64                     // inode of the agent's own namespace

	mu    sync.Mutex
	known map[holding]*VMM
}

// holding is a process and the tap that it was asked about for.
type holding struct {
	process proc.Process
	device  string
}

func newWho(rules *identity.Set) *who {
	w := &who{known: map[holding]*VMM{}}
	w.rules.Store(rules)
	w.names.Store(&map[uint64]string{})
	return w
}

// use has other rules in force.
func (w *who) use(rules *identity.Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules.Store(rules)
	w.known = map[holding]*VMM{}
}

// claimant reads a process of that command line, if the rules believe that it is a VMM.
func (w *who) claimant(pid int, line string) (*VMM, bool) {
	s, err := proc.StatOf(pid)
	if err != nil || s.State.Ended() {
		return nil, false
	}
	f := basicFacts(s)
	f.Args = strings.Split(strings.TrimSuffix(line, "\x00"), "\x00")
	rules := w.rules.Load()
	if rules.Claim(f) == identity.NoClaim {
		return nil, false
	}
	v := w.place(s, &f)
	moreFacts(pid, &f)
	if !rules.Claims(f) || v == nil {
		return nil, false
	}
	v.Identity = rules.Identify(f)
	return v, true
}

// holder reads a process that holds a tap. The process is believed: it had to be
// allowed to open the tap.
func (w *who) holder(pid int, device, kind string) (*VMM, bool) {
	s, err := proc.StatOf(pid)
	if err != nil {
		return nil, false
	}
	k := holding{s.Process, device}
	w.mu.Lock()
	v := w.known[k]
	w.mu.Unlock()
	if v != nil {
		return v, true
	}
	f := basicFacts(s)
	f.Args = argsOf(procDir(pid))
	if v = w.place(s, &f); v == nil {
		return nil, false
	}
	moreFacts(pid, &f)
	f.Device, f.Kind = device, kind
	v.Identity = w.rules.Load().Identify(f)
	if time.Since(v.Started) > young { // it may yet become another program
		w.mu.Lock()
		w.known[k] = v
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

// place says where a process is. The process is identified before and after, so that
// the namespace is its own and not that of the pid's next owner.
func (w *who) place(s proc.Stat, f *identity.Facts) *VMM {
	v := &VMM{Process: s.Process, Started: s.Process.Started(), Command: s.Command, Parent: s.Parent}
	if file, err := os.Open(nsPath(s.Process.PID)); err == nil {
		defer file.Close()
		if v.Netns, err = netns.CookieOfFile(file); err == nil {
			v.Inode = inodeOf(file)
		}
	}
	f.Host = v.Inode != 0 && v.Inode == w.self.Load()
	f.Netns = (*w.names.Load())[v.Inode]
	if now, err := proc.StatOf(s.Process.PID); err != nil || now.Process != s.Process {
		return nil
	}
	return v
}
