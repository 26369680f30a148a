package vmm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

var (
	// ErrKilled is why a machine ended that Kill ended.
	ErrKilled = errors.New("killed")
	// ErrTapBusy is why a VMM ended that found its tap held by another.
	ErrTapBusy = errors.New("tap is held by another process")
)

// Machine is a running VMM process. All methods may be called at once.
type Machine struct {
	Process proc.Process

	cmd    *exec.Cmd
	output *os.File // what the process said: anonymous memory, so that nothing is left behind
	killed atomic.Bool
	done   chan struct{}
	err    error // set before done is closed
}

// Launch starts a VMM inside the namespace at netnsPath. The process has a session
// of its own: a Ctrl-C at the terminal reaches the launcher, which then decides.
// It outlives a launcher that is killed. ctx bounds the start only.
func Launch(ctx context.Context, cmd *exec.Cmd, netnsPath string) (*Machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start VMM: %w", err)
	}
	output, err := anonymousFile("vmm-output")
	if err != nil {
		return nil, fmt.Errorf("start VMM: %w", err)
	}
	cmd.Stdout, cmd.Stderr = output, output // files, not pipes: writing must never fail with the launcher gone
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := netns.Do(netnsPath, cmd.Start); err != nil {
		output.Close()
		return nil, fmt.Errorf("start VMM: %w", err)
	}
	m := &Machine{cmd: cmd, output: output, done: make(chan struct{})}
	m.Process, err = proc.ProcessOf(cmd.Process.Pid) // a zombie at worst: it is not waited for yet
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		output.Close()
		return nil, fmt.Errorf("start VMM: %w", err)
	}
	go m.wait()
	return m, nil
}

func anonymousFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make anonymous file: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// wait is the goroutine that reaps the process.
func (m *Machine) wait() {
	err := m.cmd.Wait()
	m.err = m.exitError(err)
	m.output.Close()
	close(m.done)
}

// PID returns the process's id.
func (m *Machine) PID() int { return m.Process.PID }

// Done is closed when the process has ended and Err says why.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Err returns why the process ended, with the last line that it said, and nil
// while it runs. An end is never nil: a VMM that stops is no longer there for its
// sandbox, whatever its status.
func (m *Machine) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}

// Kill ends the process at once and waits for its end. It may be called again.
func (m *Machine) Kill() error {
	m.killed.Store(true)
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill VMM %d: %w", m.PID(), err)
	}
	<-m.done
	return nil
}

// exitError puts the process's own words before its status.
func (m *Machine) exitError(wait error) error {
	if m.killed.Load() {
		return ErrKilled
	}
	status := "VMM exited"
	if wait != nil {
		status = "VMM ended: " + wait.Error()
	}
	last := m.lastLine()
	switch {
	case strings.Contains(last, "/dev/net/tun") && strings.Contains(last, "busy"):
		return fmt.Errorf("%w (%s)", ErrTapBusy, last)
	case last != "":
		return fmt.Errorf("%s: %s", status, last)
	}
	return errors.New(status)
}

// lastLine returns the last line of the output that is not empty, of its last 4 KiB.
func (m *Machine) lastLine() string {
	info, err := m.output.Stat()
	if err != nil {
		return ""
	}
	tail := make([]byte, min(info.Size(), 4096))
	n, _ := m.output.ReadAt(tail, info.Size()-int64(len(tail)))
	text := strings.TrimSpace(string(tail[:n]))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
