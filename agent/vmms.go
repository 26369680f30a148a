package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tapwatch/agent/discover"
	"tapwatch/agent/exits"
	"tapwatch/agent/path"
)

// vmms has the kernel tell of the end of each bound VMM, so that it can be said
// how it ended and whether the carrier went before or after.
type vmms struct {
	model *model
	exits *exits.Watcher // nil: the kernel does not tell
	once  sync.Once
	log   *slog.Logger
}

// newVMMs loads the program. Without it the ends of VMMs are found by looking,
// and nobody knows how they ended.
func newVMMs(m *model, log *slog.Logger) *vmms {
	v := &vmms{model: m, log: log.With("part", "vmms")}
	w, err := exits.Open()
	if err != nil {
		v.log.Warn("how VMMs end will not be known", "err", err)
		return v
	}
	v.exits, m.tellsExits = w, true
	return v
}

// follow watches the VMM that a change brought, and forgets the one that it took.
func (v *vmms) follow(c discover.Change) {
	old, fresh := vmmOf(c.Old), vmmOf(c.New)
	if v.exits == nil || old == fresh {
		return
	}
	if old != 0 {
		if err := v.exits.Forget(old); err != nil {
			v.log.Debug("forget a VMM", "err", err)
		}
	}
	if fresh != 0 {
		if err := v.exits.Watch(fresh); err != nil {
			v.log.Warn("how this VMM ends will not be known", "err", err)
		}
	}
}

func vmmOf(e *discover.Entry) int {
	if e == nil || e.Binding == nil || e.Binding.Idle {
		return 0
	}
	return e.Binding.VMM.PID
}

func (v *vmms) run(ctx context.Context) error {
	if v.exits == nil {
		return nil
	}
	return v.exits.Run(ctx, v.model.vmmExited, v.model.vmmSignalled)
}

func (v *vmms) close() (err error) {
	if v.exits != nil {
		v.once.Do(func() { err = v.exits.Close() })
	}
	return err
}

// vmmExited takes the end of a bound VMM.
func (m *model) vmmExited(e exits.Exit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.byVMM[e.PID]
	if s == nil {
		return
	}
	s.vmmAlive = path.No
	s.changed()
	held := path.Unknown
	if e.HeldKnown {
		held = path.Known(e.HeldTap)
	}
	s.vmmExit = &path.VMMExit{Time: e.Time, Command: e.Command, How: e.String(), HeldTap: held, Wanted: e.Wanted()}
	ev := s.event(e.Time, path.VMMExited, fmt.Sprintf("%s (pid %d) %s", e.Command, e.PID, e))
	ev.HeldTap = held
	m.publish(ev)
	m.departed(s, time.Now())
}

// lookAgain is how long after a signal a VMM is looked at, which stops only as each
// of its threads next leaves the kernel.
var lookAgain = []time.Duration{2 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond}

// vmmSignalled takes that a bound VMM is to stop or to go on.
func (m *model) vmmSignalled(pid int, stop bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.byVMM[pid]; s != nil {
		for _, d := range lookAgain {
			time.AfterFunc(d, func() { m.lookWhetherStopped(s, pid, path.Known(stop)) })
		}
	}
}

func (m *model) lookWhetherStopped(s *slot, pid int, want path.Tristate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byVMM[pid] != s || s.vmmStopped == want {
		return
	}
	s.look()
	if s.vmmStopped == want {
		m.diagnose(s, time.Now())
	}
}

// boundVMM notes the VMM of the slot's sandbox, which has come, changed or gone
// (old is the process before).
func (m *model) boundVMM(s *slot, old int) {
	pid := vmmOf(s.entry)
	if pid == old {
		return
	}
	if m.byVMM[old] == s {
		delete(m.byVMM, old)
	}
	s.vmmExit, s.api, s.zombieSince, s.vmmGoneSince = nil, nil, time.Time{}, time.Time{}
	s.vmmExitTold = m.tellsExits && !m.noHooks // a look that ends at once is told nothing
	if pid == 0 {
		return
	}
	m.byVMM[pid] = s
	m.tell(s, s.entry.Binding.VMM.Started(), path.VMMFound, fmt.Sprintf("the VMM is pid %d", pid))
}
