package guest_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"tapwatch/internal/sandbox/envd/guest"
	pb "tapwatch/internal/sandbox/envd/proto/process"
)

func TestExit(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	for name, tc := range map[string]struct {
		line   string
		code   int32
		exited bool
		status string
	}{
		"success":       {"true", 0, true, "exit status 0"},
		"failure":       {"exit 3", 3, true, "exit status 3"},
		"missing":       {"no-such-command-here", 127, true, "exit status 127"},
		"killed itself": {"kill -9 $$", -1, false, "signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := run(t, c, connect.NewRequest(shell(tc.line)))
			if err != nil {
				t.Fatal(err)
			}
			e := r.end
			if e.GetExitCode() != tc.code || e.GetExited() != tc.exited || e.GetStatus() != tc.status {
				t.Errorf("end %v, want %d %v %q", e, tc.code, tc.exited, tc.status)
			}
			if (e.Error != nil) != (tc.code != 0) {
				t.Errorf("error %v with code %d", e.Error, tc.code)
			}
		})
	}
}

func TestCannotStart(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	for name, tc := range map[string]struct {
		cfg  *pb.ProcessConfig
		user string
		code connect.Code
		says string
	}{
		"no command":      {&pb.ProcessConfig{}, "", connect.CodeInvalidArgument, "cmd is empty"},
		"unknown command": {&pb.ProcessConfig{Cmd: "nonesuch"}, "", connect.CodeInvalidArgument, "'nonesuch'"},
		"unknown path":    {&pb.ProcessConfig{Cmd: "/nonesuch"}, "", connect.CodeInvalidArgument, "no such file"},
		"not executable":  {&pb.ProcessConfig{Cmd: "/etc/passwd"}, "", connect.CodeInvalidArgument, "permission denied"},
		"no such cwd":     {&pb.ProcessConfig{Cmd: "ls", Cwd: new("/nonesuch")}, "", connect.CodeInvalidArgument, "cwd '/nonesuch' does not exist"},
		"cwd is a file":   {&pb.ProcessConfig{Cmd: "ls", Cwd: new("/etc/passwd")}, "", connect.CodeInvalidArgument, "does not exist"},
		"unknown user":    {&pb.ProcessConfig{Cmd: "ls"}, "nonesuch", connect.CodeUnauthenticated, "invalid username: 'nonesuch'"},
	} {
		t.Run(name, func(t *testing.T) {
			req := connect.NewRequest(&pb.StartRequest{Process: tc.cfg})
			if tc.user != "" {
				as(req, tc.user)
			}
			_, err := run(t, c, req)
			wantCode(t, err, tc.code)
			if err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %q does not say %q", err, tc.says)
			}
		})
	}
	list, err := c.List(t.Context(), connect.NewRequest(&pb.ListRequest{}))
	if err != nil || len(list.Msg.GetProcesses()) != 0 {
		t.Errorf("left behind: %v, %v", list.Msg.GetProcesses(), err)
	}
}

func TestOutputStreams(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	// The second line comes only after the first has arrived here.
	gate := t.TempDir() + "/gate"
	line := "echo one; until [ -e " + gate + " ]; do sleep 0.01; done; echo two; echo three >&2; exit 4"
	s := start(bounded(t), t, c, connect.NewRequest(shell(line)))
	s.pid(t)
	s.until(t, "one\n")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := s.rest()
	if err != nil || r.stdout != "two\n" || r.stderr != "three\n" || r.end.GetExitCode() != 4 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestLargeOutputIsWhole(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	r, err := run(t, c, connect.NewRequest(shell("seq 1 200000; seq 1 1000 >&2")))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(r.stdout, "\n"); n != 200000 || !strings.HasSuffix(r.stdout, "\n200000\n") {
		t.Errorf("%d lines, ends %q", n, r.stdout[len(r.stdout)-10:])
	}
	if n := strings.Count(r.stderr, "\n"); n != 1000 {
		t.Errorf("%d lines of stderr", n)
	}
}

func TestSignalReachesTheGroup(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	for _, sig := range []pb.Signal{pb.Signal_SIGNAL_SIGTERM, pb.Signal_SIGNAL_SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			ctx := bounded(t)
			s := start(ctx, t, c, connect.NewRequest(shell("sleep 1000 & echo $! done; wait")))
			pid := s.pid(t)
			if !s.receive() {
				t.Fatal(s.err())
			}
			child := strings.Fields(string(s.event().GetData().GetStdout()))[0]
			msg := &pb.SendSignalRequest{Process: byPID(pid), Signal: sig}
			if _, err := c.SendSignal(ctx, connect.NewRequest(msg)); err != nil {
				t.Fatal(err)
			}
			r, err := s.rest()
			if err != nil || r.end.GetExited() || !strings.HasPrefix(r.end.GetStatus(), "signal: ") {
				t.Errorf("end %v, %v", r.end, err)
			}
			eventually(t, "the child "+child+" is dead", func() bool { return dead(child) })
		})
	}
}

func TestSelectorErrors(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	ctx := bounded(t)
	pid := start(ctx, t, c, connect.NewRequest(shell("sleep 1000"))).pid(t)
	for name, tc := range map[string]struct {
		req  *pb.SendSignalRequest
		code connect.Code
	}{
		"unknown pid": {&pb.SendSignalRequest{Process: byPID(1), Signal: 9}, connect.CodeNotFound},
		"unknown tag": {&pb.SendSignalRequest{Process: byTag("x"), Signal: 9}, connect.CodeNotFound},
		"unnamed":     {&pb.SendSignalRequest{Signal: 9}, connect.CodeInvalidArgument},
		"no signal":   {&pb.SendSignalRequest{Process: byPID(pid)}, connect.CodeInvalidArgument},
		"odd signal":  {&pb.SendSignalRequest{Process: byPID(pid), Signal: 19}, connect.CodeInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.SendSignal(ctx, connect.NewRequest(tc.req))
			wantCode(t, err, tc.code)
		})
	}
}

func TestConnectToRunning(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	ctx := bounded(t)
	req := shell("read go; echo $go; exit 5")
	req.Stdin, req.Tag = new(true), new("job")
	first := start(ctx, t, c, connect.NewRequest(req))
	pid := first.pid(t)
	byPid, byTag := connectTo(ctx, t, c, byPID(pid)), connectTo(ctx, t, c, byTag("job"))
	if a, b := byPid.pid(t), byTag.pid(t); a != pid || b != pid {
		t.Fatalf("connected to %d and %d, want %d", a, b, pid)
	}
	send(ctx, t, c, pid, "now\n")
	for name, s := range map[string]events{"start": first, "pid": byPid, "tag": byTag} {
		r, err := s.rest()
		if err != nil || r.stdout != "now\n" || r.end.GetExitCode() != 5 {
			t.Errorf("%s: got %+v, %v", name, r, err)
		}
	}
	eventually(t, "it is forgotten", func() bool {
		s, err := c.Connect(ctx, connect.NewRequest(&pb.ConnectRequest{Process: byPID(pid)}))
		if err != nil {
			return connect.CodeOf(err) == connect.CodeNotFound
		}
		defer s.Close()
		for s.Receive() {
		}
		return connect.CodeOf(s.Err()) == connect.CodeNotFound
	})
}

func TestProcessOutlivesItsStream(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	ctx, cancel := context.WithCancel(bounded(t))
	s := start(ctx, t, c, connect.NewRequest(shell("sleep 0.2; seq 1 100000; sleep 1000")))
	pid := s.pid(t)
	cancel()
	s.close()
	again := connectTo(bounded(t), t, c, byPID(pid))
	again.pid(t)
	again.until(t, "\n100000\n") // nobody's output has stopped it
	list, err := c.List(bounded(t), connect.NewRequest(&pb.ListRequest{}))
	if err != nil || len(list.Msg.GetProcesses()) != 1 || list.Msg.GetProcesses()[0].GetPid() != pid {
		t.Errorf("list %v, %v", list, err)
	}
}

func TestTimeoutKills(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	s, err := c.Start(ctx, connect.NewRequest(shell("trap '' TERM; sleep 1000 & wait")))
	if err != nil {
		t.Fatal(err)
	}
	for s.Receive() {
	}
	wantCode(t, s.Err(), connect.CodeDeadlineExceeded)
	eventually(t, "the process is gone", func() bool {
		list, err := c.List(bounded(t), connect.NewRequest(&pb.ListRequest{}))
		return err == nil && len(list.Msg.GetProcesses()) == 0
	})
}

func TestKeepalive(t *testing.T) {
	_, c := daemon(t, guest.Config{})
	req := connect.NewRequest(shell("sleep 1.5"))
	req.Header().Set("Keepalive-Ping-Interval", "1")
	r, err := run(t, c, req)
	if err != nil || r.keepalives != 1 {
		t.Errorf("%d keepalives, %v", r.keepalives, err)
	}
}
