package guest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	pb "tapwatch/internal/sandbox/envd/proto/process"
)

// outputGrace is how long output is waited for after a kill: something that left
// the process group may still hold the pipes.
const outputGrace = time.Second

// errEnded is returned for a process that has ended meanwhile.
var errEnded = errors.New("process has ended")

// running is a command, the leader of a process group of its own.
type running struct {
	pid  uint32
	info *pb.ProcessInfo // as it was asked for

	cmd     *exec.Cmd
	streams *streams
	out     fanout

	mu      sync.Mutex // orders signals against the reaping of the pid
	reaped  bool
	expired bool // killed because its time was over
}

// start runs a command whose streams are connected; they are closed if it
// fails. The caller goes on with supervise, after those have joined p.out that
// must miss nothing.
func start(cmd *exec.Cmd, s *streams, reaper *Reaper) (*running, error) {
	if err := reaper.start(cmd); err != nil {
		s.closeAll()
		return nil, err
	}
	s.closeChild()
	return &running{pid: uint32(cmd.Process.Pid), cmd: cmd, streams: s}, nil
}

// supervise passes output on until the process has ended and all output is
// read, then publishes the end. It ends the process at the deadline; zero is none.
func (p *running) supervise(deadline time.Time, reaper *Reaper) {
	if !deadline.IsZero() {
		timer := time.AfterFunc(time.Until(deadline), p.expire)
		defer timer.Stop()
	}
	var pumps sync.WaitGroup
	for _, s := range p.streams.sources {
		pumps.Go(func() { s.pump(&p.out) })
	}
	err := p.wait(reaper)
	pumps.Wait()
	p.streams.closeOurs()
	p.out.finish(endEvent(p.cmd.ProcessState, err))
}

// wait reaps the process once it has ended, and never while a signal is on its way.
func (p *running) wait(reaper *Reaper) error {
	for errors.Is(unix.Waitid(unix.P_PID, int(p.pid), nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.cmd.Wait()
	p.reaped = true
	reaper.forget(int(p.pid))
	return err
}

// signal reaches the whole process group.
func (p *running) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return errEnded
	}
	if err := syscall.Kill(-int(p.pid), sig); err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	if sig == syscall.SIGKILL {
		for _, s := range p.streams.sources {
			// A terminal may take no deadline: it ends with its session.
			_ = s.r.SetReadDeadline(time.Now().Add(outputGrace))
		}
	}
	return nil
}

// expire kills a process whose client allowed it no more time.
func (p *running) expire() {
	p.mu.Lock()
	p.expired = !p.reaped
	p.mu.Unlock()
	_ = p.signal(syscall.SIGKILL) // errEnded: it was quick enough after all
}

func (p *running) hasExpired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expired
}

// endEvent says how a process ended, in the words of os.ProcessState.
func endEvent(state *os.ProcessState, err error) *pb.ProcessEvent {
	end := &pb.ProcessEvent_EndEvent{
		ExitCode: int32(state.ExitCode()), // -1 after a signal
		Exited:   state.Exited(),
		Status:   state.String(),
	}
	if err != nil {
		text := err.Error()
		end.Error = &text
	}
	return &pb.ProcessEvent{Event: &pb.ProcessEvent_End{End: end}}
}
