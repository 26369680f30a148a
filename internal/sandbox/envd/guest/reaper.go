package guest

import (
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reaper collects the orphans that fall to PID 1 and leaves the daemon's own
// children to those who wait for them. A nil Reaper is for any other process:
// it collects nothing.
type Reaper struct {
	mu  sync.Mutex
	own map[int]struct{} // children that someone waits for
}

// NewReaper starts collecting, until the process ends.
func NewReaper() *Reaper {
	r := &Reaper{own: map[int]struct{}{}}
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	go r.collectOn(died)
	return r
}

func (r *Reaper) collectOn(died <-chan os.Signal) {
	for range died {
		for r.collect() {
		}
	}
}

// collect looks at the first dead child and reports whether to look again.
func (r *Reaper) collect() bool {
	pid := firstDead()
	if pid == 0 {
		return false
	}
	r.mu.Lock()
	_, own := r.own[pid]
	if !own {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // it is dead: this cannot block or fail
	}
	r.mu.Unlock()
	if own {
		time.Sleep(time.Millisecond) // it hides others until its owner has taken it
	}
	return true
}

// firstDead returns the pid of a dead child and leaves it there; 0 is none.
func firstDead() int {
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		return 0 // ECHILD: there are no children at all
	}
	const siPID = 16 // offset of si_pid in struct siginfo on 64-bit Linux, which x/sys does not name
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), siPID)))
}

// start starts a command under the lock, so that a quick death is not mistaken
// for an orphan's.
func (r *Reaper) start(cmd *exec.Cmd) error {
	if r == nil {
		return cmd.Start()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	r.own[cmd.Process.Pid] = struct{}{}
	return nil
}

// forget ends the protection of a child that was waited for.
func (r *Reaper) forget(pid int) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.own, pid)
}
