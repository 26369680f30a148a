package guest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"tapwatch/internal/sandbox/envd/guest"
	pb "tapwatch/internal/sandbox/envd/proto/process"
)

func stdinOf(text string) *pb.ProcessInput {
	return &pb.ProcessInput{Input: &pb.ProcessInput_Stdin{Stdin: []byte(text)}}
}

func send(ctx context.Context, t *testing.T, c pb.ProcessClient, pid uint32, text string) {
	t.Helper()
	msg := &pb.SendInputRequest{Process: byPID(pid), Input: stdinOf(text)}
	if _, err := c.SendInput(ctx, connect.NewRequest(msg)); err != nil {
		t.Fatal(err)
	}
}

func TestStdin(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	ctx := bounded(t)
	req := shell("cat; echo end")
	req.Stdin = nil // older clients leave it out and mean true
	s := start(ctx, t, c, connect.NewRequest(req))
	pid := s.pid(t)
	send(ctx, t, c, pid, "a")
	send(ctx, t, c, pid, "b\n")
	s.until(t, "b\n")
	if _, err := c.CloseStdin(ctx, connect.NewRequest(&pb.CloseStdinRequest{Process: byPID(pid)})); err != nil {
		t.Fatal(err)
	}
	if r, err := s.rest(); err != nil || r.stdout != "end\n" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestStreamInput(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	ctx := bounded(t)
	req := shell("head -c 300000 | md5sum")
	req.Stdin = new(true)
	s := start(ctx, t, c, connect.NewRequest(req))
	pid := s.pid(t)
	in := c.StreamInput(ctx)
	msgs := []*pb.StreamInputRequest{{Event: &pb.StreamInputRequest_Start{
		Start: &pb.StreamInputRequest_StartEvent{Process: byPID(pid)}}}}
	for range 3 { // each more than a pipe holds
		msgs = append(msgs, &pb.StreamInputRequest{Event: &pb.StreamInputRequest_Data{
			Data: &pb.StreamInputRequest_DataEvent{Input: stdinOf(strings.Repeat("x", 100000))}}})
	}
	for _, m := range msgs {
		if err := in.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.CloseAndReceive(); err != nil {
		t.Fatal(err)
	}
	const want = "d408ed46ebcc326f9e7c6bb9c77af1cd"
	if r, err := s.rest(); err != nil || !strings.HasPrefix(r.stdout, want) {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestInputRefused(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	ctx := bounded(t)
	pid := start(ctx, t, c, connect.NewRequest(shell("sleep 1000"))).pid(t)
	for name, tc := range map[string]struct {
		in   *pb.ProcessInput
		code connect.Code
	}{
		"no stdin":    {stdinOf("x"), connect.CodeFailedPrecondition},
		"no terminal": {&pb.ProcessInput{Input: &pb.ProcessInput_Pty{Pty: []byte("x")}}, connect.CodeFailedPrecondition},
		"empty":       {&pb.ProcessInput{}, connect.CodeInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.SendInput(ctx, connect.NewRequest(&pb.SendInputRequest{Process: byPID(pid), Input: tc.in}))
			wantCode(t, err, tc.code)
		})
	}
	_, err := c.CloseStdin(ctx, connect.NewRequest(&pb.CloseStdinRequest{Process: byPID(pid)}))
	wantCode(t, err, connect.CodeFailedPrecondition)
}

// A process that does not read must not hold its writer for ever.
func TestInputThatNobodyReads(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	req := shell("sleep 1000")
	req.Stdin = new(true)
	pid := start(bounded(t), t, c, connect.NewRequest(req)).pid(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	msg := &pb.SendInputRequest{Process: byPID(pid), Input: stdinOf(strings.Repeat("x", 1<<20))}
	_, err := c.SendInput(ctx, connect.NewRequest(msg))
	wantCode(t, err, connect.CodeDeadlineExceeded)
	// Nor may it hold those behind it.
	_, err = c.CloseStdin(bounded(t), connect.NewRequest(&pb.CloseStdinRequest{Process: byPID(pid)}))
	if err != nil {
		t.Error(err)
	}
}

func TestTerminal(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	ctx := bounded(t)
	req := shell("")
	req.Process.Args = []string{"--norc", "-i"}
	req.Stdin = nil
	req.Pty = &pb.PTY{Size: &pb.PTY_Size{Cols: 91, Rows: 17}}
	s := start(ctx, t, c, connect.NewRequest(req))
	pid := s.pid(t)
	typed := func(text string) {
		t.Helper()
		in := &pb.ProcessInput{Input: &pb.ProcessInput_Pty{Pty: []byte(text)}}
		if _, err := c.SendInput(ctx, connect.NewRequest(&pb.SendInputRequest{Process: byPID(pid), Input: in})); err != nil {
			t.Fatal(err)
		}
	}
	typed("stty size; echo $TERM\n")
	s.until(t, "17 91\r\nxterm-256color")
	size := &pb.UpdateRequest{Process: byPID(pid), Pty: &pb.PTY{Size: &pb.PTY_Size{Cols: 120, Rows: 40}}}
	if _, err := c.Update(ctx, connect.NewRequest(size)); err != nil {
		t.Fatal(err)
	}
	typed("stty size\n")
	s.until(t, "40 120\r\n")
	typed("exit 6\n")
	if r, err := s.rest(); err != nil || r.end.GetExitCode() != 6 {
		t.Errorf("got %+v, %v", r, err)
	}
}
