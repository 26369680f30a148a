package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// untilHangup returns a context that also ends at SIGHUP, unless whoever started the
// process has it ignored (nohup). From then on SIGPIPE ends nothing either: what a
// launcher made must be removed before its process goes.
func untilHangup(ctx context.Context) (context.Context, context.CancelFunc) {
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE) // so that a write fails in its place; nobody reads the channel
	if signal.Ignored(syscall.SIGHUP) {
		return context.WithCancel(ctx)
	}
	return signal.NotifyContext(ctx, syscall.SIGHUP)
}

// untilLeft is untilHangup for a command that somebody looks at: it also ends when the
// pipe or the terminal that it writes to has nobody at the other end any more.
func untilLeft(ctx context.Context, out any) (context.Context, context.CancelFunc) {
	ctx, cancel := untilHangup(ctx)
	if f, ok := out.(*os.File); ok {
		go func() {
			if gone(ctx, f) {
				cancel()
			}
		}()
	}
	return ctx, cancel
}

// lookEvery is how long, in ms, a wait for the other end may take to see that it is
// not wanted any more.
const lookEvery = 500

// gone waits until nobody is at the other end of a file; false: ctx ended before.
func gone(ctx context.Context, f *os.File) bool {
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(f.Fd())}} // asked for nothing, the kernel tells of ends and errors
		n, err := unix.Poll(fds, lookEvery)
		if n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
			return true
		}
		if err != nil && err != unix.EINTR || n > 0 {
			return false // it cannot be told
		}
	}
	return false
}
