package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Handle is an open namespace. It keeps the namespace alive, also when its name
// is deleted, until Close.
type Handle struct {
	path string
	fd   int
}

// Open opens the namespace at path (or of that name); "" is the caller's own. The
// error is ErrNotExist where there is no such namespace.
func Open(path string) (*Handle, error) {
	file := Path(path)
	if path == "" {
		file = Own
	}
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotExist, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", path, err)
	}
	if typ, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || typ != unix.CLONE_NEWNET {
		unix.Close(fd)
		return nil, fmt.Errorf("%w: %s is not a namespace", ErrNotExist, path)
	}
	return &Handle{path: path, fd: fd}, nil
}

// Close lets the namespace go. A Thread that is inside must have left.
func (h *Handle) Close() error { return unix.Close(h.fd) }

// Do runs fn inside the namespace, as the function Do does.
func (h *Handle) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(h.fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns %s: %w", h.path, err)
		}
		return fn()
	})
}

// Thread is a goroutine's own thread, which goes from namespace to namespace:
// for a loop that makes many sockets, where Do would cost a thread switch for
// each. A thread inside a namespace keeps it alive.
type Thread struct {
	home int
	in   *Handle // nil: home
}

// Lock locks the calling goroutine to its thread, until Unlock. All methods are
// to be called from that goroutine.
func Lock() (*Thread, error) {
	runtime.LockOSThread()
	home, err := unix.Open(Own, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("open own namespace: %w", err)
	}
	return &Thread{home: home}, nil
}

// Enter moves the thread into a namespace, where it stays; moving to where it is
// costs nothing. On an error it is where it was.
func (t *Thread) Enter(h *Handle) error {
	if t.in == h {
		return nil
	}
	if err := unix.Setns(h.fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("setns %s: %w", h.path, err)
	}
	t.in = h
	return nil
}

// Leave moves the thread home if it is in that namespace.
func (t *Thread) Leave(h *Handle) error {
	if t.in == nil || t.in != h {
		return nil
	}
	if err := unix.Setns(t.home, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("setns home: %w", err)
	}
	t.in = nil
	return nil
}

// Unlock gives the thread back if it can go home; else the runtime ends the
// thread with the goroutine, which must end then.
func (t *Thread) Unlock() {
	err := unix.Setns(t.home, unix.CLONE_NEWNET)
	unix.Close(t.home)
	if err == nil {
		runtime.UnlockOSThread()
	}
}
