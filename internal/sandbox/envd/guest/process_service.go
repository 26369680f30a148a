package guest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"connectrpc.com/connect"

	pb "tapwatch/internal/sandbox/envd/proto/process"
)

const (
	// keepaliveHeader asks for a sign of life every so many seconds on a silent stream.
	keepaliveHeader = "Keepalive-Ping-Interval"
	// keepaliveDefault is for clients that do not ask.
	keepaliveDefault = 90 * time.Second
)

// timedOut is what a client hears of a process whose time was over.
const timedOut = "the command's timeout has passed: its processes were killed"

// processService implements process.Process.
type processService struct{ server *Server }

// Start runs a command and streams its events. The process outlives its
// stream; only the time that the client allows (Connect-Timeout-Ms) ends it.
func (s *processService) Start(ctx context.Context, req *connect.Request[pb.StartRequest], stream *connect.ServerStream[pb.StartResponse]) error {
	deadline, _ := ctx.Deadline()
	p, events, err := s.start(req.Msg, req.Header(), deadline)
	if err != nil {
		return err
	}
	defer events.leave()
	return follow(ctx, p, events, req.Header(), func(e *pb.ProcessEvent) error {
		return stream.Send(&pb.StartResponse{Event: e})
	})
}

// start starts the command and returns it with its first listener.
func (s *processService) start(req *pb.StartRequest, h http.Header, deadline time.Time) (*running, *listener, error) {
	srv := s.server
	as, err := srv.account(h)
	if err != nil {
		return nil, nil, err
	}
	cmd, err := srv.command(req.GetProcess(), as, req.Pty != nil)
	if err != nil {
		return nil, nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	var st *streams
	if req.Pty != nil {
		st, err = connectTerminal(cmd, req.Pty.GetSize(), as)
	} else {
		st, err = connectPipes(cmd, req.Stdin == nil || req.GetStdin())
	}
	if err != nil {
		return nil, nil, connect.NewError(connect.CodeInternal, err)
	}
	p, err := start(cmd, st, srv.cfg.Reaper)
	if err != nil {
		return nil, nil, startError(req.GetProcess().GetCmd(), err)
	}
	p.info = &pb.ProcessInfo{Config: req.Process, Pid: p.pid, Tag: req.Tag}
	events := p.out.listen()
	srv.processes.add(p)
	go func() {
		p.supervise(deadline, srv.cfg.Reaper)
		srv.processes.remove(p)
	}()
	return p, events, nil
}

// Connect streams the events of a process that runs, from now on.
func (s *processService) Connect(ctx context.Context, req *connect.Request[pb.ConnectRequest], stream *connect.ServerStream[pb.ConnectResponse]) error {
	p, err := s.find(req.Msg.GetProcess())
	if err != nil {
		return err
	}
	events := p.out.listen()
	defer events.leave()
	return follow(ctx, p, events, req.Header(), func(e *pb.ProcessEvent) error {
		return stream.Send(&pb.ConnectResponse{Event: e})
	})
}

// follow sends the start event, then what comes, up to the end event.
func follow(ctx context.Context, p *running, events *listener, h http.Header, send func(*pb.ProcessEvent) error) error {
	start := &pb.ProcessEvent_StartEvent{Pid: p.pid}
	if err := send(&pb.ProcessEvent{Event: &pb.ProcessEvent_Start{Start: start}}); err != nil {
		return err
	}
	interval := keepalive(h)
	quiet := time.NewTimer(interval)
	defer quiet.Stop()
	for {
		e := &pb.ProcessEvent{Event: &pb.ProcessEvent_Keepalive{Keepalive: &pb.ProcessEvent_KeepAlive{}}}
		select {
		case <-ctx.Done():
			return endOfStream(ctx, timedOut)
		case <-quiet.C:
		case e = <-events.events:
		}
		if e.GetEnd() != nil && p.hasExpired() {
			return connect.NewError(connect.CodeDeadlineExceeded, errors.New(timedOut))
		}
		if err := send(e); err != nil {
			return err
		}
		if e.GetEnd() != nil {
			return nil
		}
		quiet.Reset(interval)
	}
}

// endOfStream says why a stream ends before what it is about.
func endOfStream(ctx context.Context, late string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New(late))
	}
	return connect.NewError(connect.CodeCanceled, ctx.Err())
}

func keepalive(h http.Header) time.Duration {
	if n, err := strconv.Atoi(h.Get(keepaliveHeader)); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	return keepaliveDefault
}

// List names the processes that run.
func (s *processService) List(context.Context, *connect.Request[pb.ListRequest]) (*connect.Response[pb.ListResponse], error) {
	var list pb.ListResponse
	for _, p := range s.server.processes.all() {
		list.Processes = append(list.Processes, p.info)
	}
	return connect.NewResponse(&list), nil
}

// SendSignal reaches the process and its group.
func (s *processService) SendSignal(_ context.Context, req *connect.Request[pb.SendSignalRequest]) (*connect.Response[pb.SendSignalResponse], error) {
	p, err := s.find(req.Msg.GetProcess())
	if err != nil {
		return nil, err
	}
	switch sig := req.Msg.GetSignal(); sig {
	case pb.Signal_SIGNAL_SIGKILL, pb.Signal_SIGNAL_SIGTERM:
		err = p.signal(syscall.Signal(sig))
	default:
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("signal must be SIGNAL_SIGTERM or SIGNAL_SIGKILL"))
	}
	if err != nil {
		return nil, processError(err)
	}
	return connect.NewResponse(&pb.SendSignalResponse{}), nil
}

func (s *processService) find(sel *pb.ProcessSelector) (*running, error) {
	p, err := s.server.processes.find(sel)
	if err != nil {
		return nil, processError(err)
	}
	return p, nil
}
