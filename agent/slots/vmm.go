package slots

import (
	"cmp"
	"fmt"
	"time"

	"tapwatch/agent/path"
)

// Process names a process for good: pids are reused, a pid with its start time is not.
// The zero value is no process.
type Process struct {
	PID   int
	Start uint64 // field 22 of /proc/PID/stat, clock ticks since boot
}

// byAge orders processes, the eldest first.
func byAge(a, b Process) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
}

// VMM is a process that holds a tap, or whose command line says that it is a VMM.
type VMM struct {
	Process
	Started  time.Time
	Command  string // as /proc/PID/comm has it
	Parent   int    // pid; 0: unknown
	Zombie   bool   // it has ended, and its parent has not waited for it
	Identity Identity
}

// vmm is one VMM process of a stay. A new process gets a new one.
type vmm struct {
	Process
	command string
	started time.Time
	alive   path.Tristate
	stopped path.Tristate // by SIGSTOP or a debugger
	zombie  time.Time     // since when it is one; zero: it is none
	exit    *path.VMMExit // as the kernel reported it; nil: it has not
	api     *path.VMMAPI  // nil: not asked
	askAPI  bool          // what it says of itself may be another thing by now
	// goneSince is since when it is known to be gone; zero: it is not.
	goneSince time.Time
	// beside are the other processes that held the tap while this one did: what
	// inherited it does not become the VMM.
	beside map[Process]bool
	// held says that it was seen to hold the tap, downs how often that had lost its
	// carrier by then: who holds the tap later without a loss has inherited it.
	held  bool
	downs uint32
}

// inherits says whether a holder of the tap has it from this VMM: it had it beside, or
// the tap was never free in between.
func (v *vmm) inherits(h *Holder, downs uint32) bool {
	if v.beside[h.Process] {
		return true
	}
	return v.held && v.exit != nil && v.exit.HeldTap != path.No && v.downs == downs
}

// doubt has the process looked at anew: something went that may have gone with it.
func (v *vmm) doubt() {
	if v.exit == nil && v.alive == path.Yes {
		v.alive = path.Unknown
	}
}

func (v *vmm) ended(now time.Time) {
	v.alive = path.No
	if v.goneSince.IsZero() {
		v.goneSince = now
	}
}

// takeVMM notes the VMM of an occupant, which has come, changed or gone.
func (s *Slots) takeVMM(p *place, o *occupant) {
	st := p.stay
	if o.vmm.Process != st.vmm.Process {
		s.forgetVMM(p)
		st.vmm = &vmm{Process: o.vmm.Process, command: o.vmm.Command, started: o.vmm.Started, askAPI: true}
		if pid := o.vmm.PID; pid != 0 {
			if s.byVMM[pid] == nil {
				s.byVMM[pid] = map[*place]struct{}{}
			}
			s.byVMM[pid][p] = struct{}{}
			s.tell(p, o.vmm.Started, path.VMMFound, fmt.Sprintf("the VMM is pid %d", pid))
		}
		s.phase(p, path.VMMStarted, o.vmm.Started)
	}
	v := st.vmm
	switch {
	case v.alive == path.No: // it does not come back
	case o.alive == path.No:
		v.ended(time.Now())
	case o.alive == path.Yes:
		v.alive = path.Yes
	}
	if v.command == "" {
		v.command = o.vmm.Command
	}
}

func (s *Slots) forgetVMM(p *place) {
	pid := p.stay.vmm.PID
	delete(s.byVMM[pid], p)
	if len(s.byVMM[pid]) == 0 {
		delete(s.byVMM, pid)
	}
}

// VMMs returns the pids of the VMMs of all sandboxes.
func (s *Slots) VMMs() map[int]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	pids := make(map[int]bool, len(s.byVMM))
	for pid := range s.byVMM {
		pids[pid] = true
	}
	return pids
}

// TakeExit takes the end of a process, as the kernel reported it. Text says it in
// words.
func (s *Slots) TakeExit(pid int, e path.VMMExit, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.byVMM[pid] {
		v := p.stay.vmm
		v.exit = &e
		v.ended(e.Time)
		if s.dead[v.Process].IsZero() { // at one of its places
			s.happened.Exits[Exit{e.Signal, e.Status, e.Wanted}]++
		}
		s.dead[v.Process] = time.Now()
		ev := p.event(e.Time, path.VMMExited, text)
		ev.HeldTap = e.HeldTap
		s.cfg.Publish(ev)
		s.withoutDead(p)
		s.resolve(p, time.Now())
		s.touch(p)
		s.cfg.Ask(Hold, p.key) // another may hold the tap still: then its carrier stays
	}
}

// ProcessState is what /proc says of a VMM.
type ProcessState struct {
	Alive, Stopped path.Tristate
	Zombie         bool
}

// TakeProcess takes a look at the VMM of a place.
func (s *Slots) TakeProcess(t Target, is ProcessState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(t)
	if p == nil || p.stay.vmm.Process != t.VMM {
		return
	}
	v, now := p.stay.vmm, time.Now()
	was := *v
	if v.exit == nil && v.alive != path.No {
		if v.alive = is.Alive; v.alive == path.No {
			v.ended(now)
		}
	}
	v.stopped = is.Stopped
	switch {
	case !is.Zombie: // it runs, or is gone for good
		v.zombie = time.Time{}
	case v.zombie.IsZero():
		v.zombie = now
	}
	if v.alive != was.alive || v.stopped != was.stopped || v.zombie != was.zombie {
		s.resolve(p, now)
		s.touch(p)
	}
}

// Kicked notes that a VMM has just signalled its vCPUs, to pause or to go on perhaps: it is
// asked by its API which.
func (s *Slots) Kicked(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.byVMM[pid] {
		if p.stay.Socket != "" {
			p.stay.vmm.askAPI = true
			s.cfg.Ask(API, p.key)
		}
	}
}

// Signalled returns the sandboxes that have a process as their VMM: it was stopped, or
// goes on.
func (s *Slots) Signalled(pid int) (of []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.byVMM[pid] {
		of = append(of, s.target(p))
	}
	return of
}
