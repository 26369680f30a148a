package guest

import (
	"context"
	"time"

	"connectrpc.com/connect"

	pb "tapwatch/internal/sandbox/envd/proto/filesystem"
)

// WatchDir streams what changes in a directory until the client leaves.
func (s *filesystemService) WatchDir(ctx context.Context, req *connect.Request[pb.WatchDirRequest], stream *connect.ServerStream[pb.WatchDirResponse]) error {
	_, path, err := s.resolve(req.Header(), req.Msg.GetPath())
	if err != nil {
		return err
	}
	d, err := watch(path, req.Msg.GetRecursive())
	if err != nil {
		return fileError(err)
	}
	defer d.close()
	start := &pb.WatchDirResponse_Start{Start: &pb.WatchDirResponse_StartEvent{}}
	if err := stream.Send(&pb.WatchDirResponse{Event: start}); err != nil {
		return err
	}
	return s.forward(ctx, d, keepalive(req.Header()), stream)
}

func (s *filesystemService) forward(ctx context.Context, d *directory, interval time.Duration, stream *connect.ServerStream[pb.WatchDirResponse]) error {
	quiet := time.NewTimer(interval)
	defer quiet.Stop()
	for {
		var events []*pb.FilesystemEvent
		var err error
		select {
		case <-ctx.Done():
			return endOfStream(ctx, "the watch's timeout has passed")
		case <-quiet.C:
			alive := &pb.WatchDirResponse_Keepalive{Keepalive: &pb.WatchDirResponse_KeepAlive{}}
			err = stream.Send(&pb.WatchDirResponse{Event: alive})
		case n := <-d.notify.Events:
			events, err = d.events(n)
		case err = <-d.notify.Errors:
			err = connect.NewError(connect.CodeDataLoss, lost(err))
		}
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := stream.Send(&pb.WatchDirResponse{Event: &pb.WatchDirResponse_Filesystem{Filesystem: e}}); err != nil {
				return err
			}
		}
		quiet.Reset(interval)
	}
}

// CreateWatcher watches for clients that cannot stream: they come for the events.
func (s *filesystemService) CreateWatcher(_ context.Context, req *connect.Request[pb.CreateWatcherRequest]) (*connect.Response[pb.CreateWatcherResponse], error) {
	_, path, err := s.resolve(req.Header(), req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	d, err := watch(path, req.Msg.GetRecursive())
	if err != nil {
		return nil, fileError(err)
	}
	id, err := s.server.watchers.add(d)
	if err != nil {
		d.close()
		return nil, err
	}
	return connect.NewResponse(&pb.CreateWatcherResponse{WatcherId: id}), nil
}

// GetWatcherEvents returns what has happened since the last call.
func (s *filesystemService) GetWatcherEvents(_ context.Context, req *connect.Request[pb.GetWatcherEventsRequest]) (*connect.Response[pb.GetWatcherEventsResponse], error) {
	events, err := s.server.watchers.take(req.Msg.GetWatcherId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&pb.GetWatcherEventsResponse{Events: events}), nil
}

// RemoveWatcher ends a watcher.
func (s *filesystemService) RemoveWatcher(_ context.Context, req *connect.Request[pb.RemoveWatcherRequest]) (*connect.Response[pb.RemoveWatcherResponse], error) {
	if err := s.server.watchers.remove(req.Msg.GetWatcherId()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&pb.RemoveWatcherResponse{}), nil
}
