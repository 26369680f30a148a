package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"connectrpc.com/connect"
)

// processError gives an error of ours its place among Connect's codes.
func processError(err error) error {
	var coded *connect.Error
	if errors.As(err, &coded) {
		return err
	}
	code := connect.CodeInternal
	switch {
	case errors.Is(err, errNoProcess), errors.Is(err, errEnded), errors.Is(err, syscall.ESRCH):
		code = connect.CodeNotFound
	case errors.Is(err, errUnnamed), errors.Is(err, errNoData):
		code = connect.CodeInvalidArgument
	case errors.Is(err, errNoInput), errors.Is(err, errNoTerminal), errors.Is(err, errTerminal), errors.Is(err, syscall.EPIPE):
		code = connect.CodeFailedPrecondition
	case errors.Is(err, context.DeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	}
	return connect.NewError(code, err)
}

// startError is for a command that could not be executed: a missing or
// forbidden file is the request's fault, all else is ours.
func startError(cmd string, err error) error {
	code := connect.CodeInternal
	for _, theirs := range []error{fs.ErrNotExist, fs.ErrPermission, syscall.ENOEXEC, syscall.E2BIG, syscall.EINVAL} {
		if errors.Is(err, theirs) {
			code = connect.CodeInvalidArgument
		}
	}
	return connect.NewError(code, fmt.Errorf("start '%s': %w", cmd, err))
}
