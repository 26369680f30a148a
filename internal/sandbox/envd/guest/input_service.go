package guest

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	pb "tapwatch/internal/sandbox/envd/proto/process"
)

// SendInput writes to the process's stdin or terminal.
func (s *processService) SendInput(ctx context.Context, req *connect.Request[pb.SendInputRequest]) (*connect.Response[pb.SendInputResponse], error) {
	p, err := s.find(req.Msg.GetProcess())
	if err != nil {
		return nil, err
	}
	if err := p.streams.input.write(ctx, req.Msg.GetInput()); err != nil {
		return nil, processError(err)
	}
	return connect.NewResponse(&pb.SendInputResponse{}), nil
}

// StreamInput writes one piece after the other; the first message names the process.
func (s *processService) StreamInput(ctx context.Context, stream *connect.ClientStream[pb.StreamInputRequest]) (*connect.Response[pb.StreamInputResponse], error) {
	var p *running
	for stream.Receive() {
		var err error
		switch e := stream.Msg().GetEvent().(type) {
		case *pb.StreamInputRequest_Start:
			p, err = s.find(e.Start.GetProcess())
		case *pb.StreamInputRequest_Data:
			if p == nil {
				return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("data came before start"))
			}
			err = p.streams.input.write(ctx, e.Data.GetInput())
		}
		if err != nil {
			return nil, processError(err)
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return connect.NewResponse(&pb.StreamInputResponse{}), nil
}

// CloseStdin lets the process read the end of its input.
func (s *processService) CloseStdin(_ context.Context, req *connect.Request[pb.CloseStdinRequest]) (*connect.Response[pb.CloseStdinResponse], error) {
	p, err := s.find(req.Msg.GetProcess())
	if err != nil {
		return nil, err
	}
	if err := p.streams.input.close(); err != nil {
		return nil, processError(err)
	}
	return connect.NewResponse(&pb.CloseStdinResponse{}), nil
}

// Update resizes the process's terminal.
func (s *processService) Update(_ context.Context, req *connect.Request[pb.UpdateRequest]) (*connect.Response[pb.UpdateResponse], error) {
	p, err := s.find(req.Msg.GetProcess())
	if err != nil {
		return nil, err
	}
	if size := req.Msg.GetPty().GetSize(); size != nil {
		if err := p.streams.input.resize(size); err != nil {
			return nil, processError(err)
		}
	}
	return connect.NewResponse(&pb.UpdateResponse{}), nil
}
