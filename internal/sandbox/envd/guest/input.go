package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/creack/pty"

	pb "tapwatch/internal/sandbox/envd/proto/process"
)

// What a client may do wrong with a process's input.
var (
	errNoInput    = errors.New("process takes no input: it was started without stdin, or stdin was closed")
	errNoTerminal = errors.New("process has no terminal")
	errNoData     = errors.New("input is empty: set stdin or pty")
	errTerminal   = errors.New("process has a terminal: send its input as pty, and end it with Ctrl-D")
)

// input is the way into a process: its stdin, or its terminal. Writers take turns.
type input struct {
	terminal bool

	mu sync.Mutex
	w  *os.File // nil: there is none, or it was closed
}

// write blocks until the process has taken everything or ctx ends.
func (i *input) write(ctx context.Context, msg *pb.ProcessInput) error {
	var data []byte
	switch in := msg.GetInput().(type) {
	case *pb.ProcessInput_Stdin:
		if i.terminal {
			return errTerminal
		}
		data = in.Stdin
	case *pb.ProcessInput_Pty:
		if !i.terminal {
			return errNoTerminal
		}
		data = in.Pty
	default:
		return errNoData
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.w == nil {
		return errNoInput
	}
	if i.terminal { // a terminal's deadline would end its reader too
		_, err := i.w.Write(data)
		return wrapInput(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = i.w.SetWriteDeadline(time.Now()) })
	_, err := i.w.Write(data)
	if !stop() {
		_ = i.w.SetWriteDeadline(time.Time{})
	}
	return wrapInput(err)
}

func wrapInput(err error) error {
	if err != nil {
		return fmt.Errorf("write input: %w", err)
	}
	return nil
}

// close ends stdin, so that the process reads its end.
func (i *input) close() error {
	if i.terminal {
		return errTerminal
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.w == nil {
		return errNoInput
	}
	err := i.w.Close()
	i.w = nil
	return err
}

// end closes whatever there is, once the process is over.
func (i *input) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.w != nil {
		i.w.Close()
		i.w = nil
	}
}

// resize tells the process about its terminal's new size.
func (i *input) resize(size *pb.PTY_Size) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.terminal || i.w == nil {
		return errNoTerminal
	}
	if err := pty.Setsize(i.w, winsize(size)); err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}
