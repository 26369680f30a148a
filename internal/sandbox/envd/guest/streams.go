package guest

import (
	"fmt"
	"os"
	"os/exec"

	pb "tapwatch/internal/sandbox/envd/proto/process"
)

// pieceSize is the most output that one event carries, in bytes.
const pieceSize = 32 << 10

// streams are a command's standard streams: our ends, and those of the child
// that are closed after it has started.
type streams struct {
	input   input
	sources []source
	child   []*os.File
}

func (s *streams) closeChild() {
	for _, f := range s.child {
		f.Close()
	}
}

func (s *streams) closeAll() {
	s.closeChild()
	s.closeOurs()
}

func (s *streams) closeOurs() {
	s.input.end()
	for _, src := range s.sources {
		src.r.Close()
	}
}

// source is a stream of output and the event that its pieces become.
type source struct {
	r    *os.File
	wrap func([]byte) *pb.ProcessEvent_DataEvent
}

// pump publishes what is read until the stream ends: EOF of a pipe, EIO of a
// terminal, the deadline after a kill.
func (s source) pump(to *fanout) {
	for {
		buf := make([]byte, pieceSize) // listeners keep it
		n, err := s.r.Read(buf)
		if n > 0 {
			to.publish(&pb.ProcessEvent{Event: &pb.ProcessEvent_Data{Data: s.wrap(buf[:n:n])}})
		}
		if err != nil {
			return
		}
	}
}

func stdoutEvent(b []byte) *pb.ProcessEvent_DataEvent {
	return &pb.ProcessEvent_DataEvent{Output: &pb.ProcessEvent_DataEvent_Stdout{Stdout: b}}
}

func stderrEvent(b []byte) *pb.ProcessEvent_DataEvent {
	return &pb.ProcessEvent_DataEvent{Output: &pb.ProcessEvent_DataEvent_Stderr{Stderr: b}}
}

// connectPipes gives the command pipes and a process group of its own; without
// input it reads /dev/null.
func connectPipes(cmd *exec.Cmd, withInput bool) (*streams, error) {
	s := &streams{}
	cmd.SysProcAttr.Setpgid = true
	if withInput {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("make stdin: %w", err)
		}
		s.input.w, s.child, cmd.Stdin = w, append(s.child, r), r
	}
	stdout, err := s.addOutput(stdoutEvent)
	if err != nil {
		return nil, fmt.Errorf("make stdout: %w", err)
	}
	stderr, err := s.addOutput(stderrEvent)
	if err != nil {
		return nil, fmt.Errorf("make stderr: %w", err)
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return s, nil
}

// addOutput makes a pipe and returns the child's end. On failure it closes
// everything made so far.
func (s *streams) addOutput(wrap func([]byte) *pb.ProcessEvent_DataEvent) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		s.closeAll()
		return nil, err
	}
	s.sources, s.child = append(s.sources, source{r, wrap}), append(s.child, w)
	return w, nil
}
