package guest

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/creack/pty"

	pb "tapwatch/internal/sandbox/envd/proto/process"
)

// connectTerminal gives the command a terminal of that size, owned by its user,
// and a session of its own.
func connectTerminal(cmd *exec.Cmd, size *pb.PTY_Size, owner account) (*streams, error) {
	master, tty, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	s := &streams{
		input:   input{w: master, terminal: true},
		sources: []source{{master, terminalEvent}},
		child:   []*os.File{tty},
	}
	err = pty.Setsize(master, winsize(size))
	if err == nil && os.Geteuid() == 0 {
		err = tty.Chown(int(owner.uid), int(owner.gid))
	}
	if err != nil {
		s.closeAll()
		return nil, fmt.Errorf("prepare terminal: %w", err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true // Ctty 0 is its stdin
	return s, nil
}

func terminalEvent(b []byte) *pb.ProcessEvent_DataEvent {
	return &pb.ProcessEvent_DataEvent{Output: &pb.ProcessEvent_DataEvent_Pty{Pty: b}}
}

// winsize is 80 by 24 where the client leaves it open.
func winsize(size *pb.PTY_Size) *pty.Winsize {
	w := &pty.Winsize{Cols: uint16(size.GetCols()), Rows: uint16(size.GetRows())}
	if w.Cols == 0 {
		w.Cols = 80
	}
	if w.Rows == 0 {
		w.Rows = 24
	}
	return w
}
