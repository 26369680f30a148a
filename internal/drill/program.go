package drill

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// program is one of our own commands in a process of its own, which a drill can
// stop or starve as it cannot itself.
type program struct {
	cmd  *exec.Cmd
	says bytes.Buffer
}

// layerProgram starts a layer as a process and waits until it listens at addr,
// which must be reached from the host.
func layerProgram(ctx context.Context, addr string, args ...string) (*program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &program{cmd: exec.CommandContext(context.WithoutCancel(ctx), self, args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.says, &p.says
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start tapwatch %s: %w", args[0], err)
	}
	for end := time.Now().Add(programPatience); ; {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			return p, conn.Close()
		}
		if time.Now().After(end) || ctx.Err() != nil {
			p.end()
			return nil, fmt.Errorf("tapwatch %s does not listen on %s: %w: %s", args[0], addr, err, strings.TrimSpace(p.says.String()))
		}
		pause(ctx, lookEvery)
	}
}

const programPatience = 10 * time.Second

var dialer = net.Dialer{Timeout: time.Second}

// signal sends the process a signal.
func (p *program) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %v to %s: %w", s, filepath.Base(p.cmd.Path), err)
	}
	return nil
}

// end kills the process, also one that is stopped, and waits for it.
func (p *program) end() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()         // by the signal
}

// starve leaves the process no file descriptor: it gets connections, to hold, and
// then a limit of what it has open. release closes them.
func (p *program) starve(ctx context.Context, addr string) (release func(), err error) {
	const held = 60 // a few of its files more or less make no difference then
	var conns []net.Conn
	release = func() {
		for _, c := range conns {
			_ = c.Close() // the other side may have
		}
	}
	for range held {
		c, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			release()
			return nil, err
		}
		conns = append(conns, c)
	}
	pause(ctx, askEvery) // until all are accepted, and passed on
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err == nil {
		limit := unix.Rlimit{Cur: uint64(len(open)), Max: uint64(len(open))}
		err = unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil)
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("limit the files of pid %d: %w", p.cmd.Process.Pid, err)
	}
	return release, nil
}
