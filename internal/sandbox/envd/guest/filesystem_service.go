package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"connectrpc.com/connect"

	pb "tapwatch/internal/sandbox/envd/proto/filesystem"
)

// maxDepth bounds how deep one listing goes.
const maxDepth = 100

// filesystemService implements filesystem.Filesystem. As E2B's does, it acts as
// the daemon and gives what it makes to the user of the request.
type filesystemService struct{ server *Server }

// Stat describes one file or directory.
func (s *filesystemService) Stat(_ context.Context, req *connect.Request[pb.StatRequest]) (*connect.Response[pb.StatResponse], error) {
	_, path, err := s.resolve(req.Header(), req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	e, err := entryOf(path)
	if err != nil {
		return nil, fileError(err)
	}
	return connect.NewResponse(&pb.StatResponse{Entry: e}), nil
}

// MakeDir makes a directory and those above it; one that exists is an error.
func (s *filesystemService) MakeDir(_ context.Context, req *connect.Request[pb.MakeDirRequest]) (*connect.Response[pb.MakeDirResponse], error) {
	as, path, err := s.resolve(req.Header(), req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil, connect.NewError(connect.CodeAlreadyExists, fmt.Errorf("directory '%s' already exists", path))
	}
	if err := as.makeDirs(path); err != nil {
		return nil, fileError(err)
	}
	e, err := entryOf(path)
	if err != nil {
		return nil, fileError(err)
	}
	return connect.NewResponse(&pb.MakeDirResponse{Entry: e}), nil
}

// Move renames, also from one file system to another.
func (s *filesystemService) Move(_ context.Context, req *connect.Request[pb.MoveRequest]) (*connect.Response[pb.MoveResponse], error) {
	as, from, err := s.resolve(req.Header(), req.Msg.GetSource())
	if err != nil {
		return nil, err
	}
	_, to, err := s.resolve(req.Header(), req.Msg.GetDestination())
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(from); err != nil {
		return nil, fileError(err)
	}
	if err := as.makeDirs(filepath.Dir(to)); err != nil {
		return nil, fileError(err)
	}
	if err := move(from, to); err != nil {
		return nil, fileError(err)
	}
	e, err := entryOf(to)
	if err != nil {
		return nil, fileError(err)
	}
	return connect.NewResponse(&pb.MoveResponse{Entry: e}), nil
}

// ListDir lists a directory, and those below it down to the depth.
func (s *filesystemService) ListDir(_ context.Context, req *connect.Request[pb.ListDirRequest]) (*connect.Response[pb.ListDirResponse], error) {
	_, path, err := s.resolve(req.Header(), req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	depth := min(max(int(req.Msg.GetDepth()), 1), maxDepth)
	entries, err := entriesUnder(path, depth)
	if err != nil {
		return nil, fileError(err)
	}
	return connect.NewResponse(&pb.ListDirResponse{Entries: entries}), nil
}

// Remove removes a file, or a directory with all that is in it. What is not
// there is no error.
func (s *filesystemService) Remove(_ context.Context, req *connect.Request[pb.RemoveRequest]) (*connect.Response[pb.RemoveResponse], error) {
	_, path, err := s.resolve(req.Header(), req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, fileError(err)
	}
	return connect.NewResponse(&pb.RemoveResponse{}), nil
}

// resolve returns the user of a request and the absolute path.
func (s *filesystemService) resolve(h http.Header, path string) (account, string, error) {
	as, err := s.server.account(h)
	if err != nil {
		return account{}, "", err
	}
	_, workdir := s.server.settings.defaults()
	return as, as.resolve(path, workdir), nil
}

// fileError gives an error of the file system its place among Connect's codes.
func fileError(err error) error {
	code := connect.CodeInternal
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = connect.CodeNotFound
	case errors.Is(err, fs.ErrPermission):
		code = connect.CodePermissionDenied
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.EINVAL),
		errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP):
		code = connect.CodeInvalidArgument
	case errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, fs.ErrExist), errors.Is(err, syscall.EXDEV):
		code = connect.CodeFailedPrecondition
	}
	return connect.NewError(code, err)
}
