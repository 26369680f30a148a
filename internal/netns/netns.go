// Package netns enters, makes, names and removes network namespaces. It is the
// only place that calls setns: a thread that has changed its namespace and
// cannot go back must die, and that rule is kept here once.
package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are bound, as iproute2 and E2B do it.
const Dir = "/run/netns"

// ErrNotExist is returned when no namespace of that name or path exists.
var ErrNotExist = errors.New("no such network namespace")

// Cookie identifies a namespace for the life of the kernel (SO_NETNS_COOKIE).
// It is never reused, while inodes are: identity is the cookie, a name is only
// a label. Zero is no namespace.
type Cookie uint64

// Path returns the file of a named namespace; a value that already holds a
// slash is a path and is returned as it is.
func Path(name string) string {
	if filepath.Base(name) != name {
		return name
	}
	return filepath.Join(Dir, name)
}

// Own is a path of the namespace that the calling thread is in: of the process's own,
// on every thread that Do and Thread have not moved.
const Own = "/proc/thread-self/ns/net"

// Do runs fn on a thread of its own inside the namespace at path (or of that
// name) and waits for it. Sockets and processes that fn makes belong to the
// namespace for good; fn must not start goroutines that expect to be inside.
// The error is ErrNotExist where there is no such namespace, else fn's own.
func Do(path string, fn func() error) error {
	f, err := os.Open(Path(path))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNotExist, path)
	}
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer f.Close()
	return onThread(func() error {
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			if errors.Is(err, unix.EINVAL) { // a plain file left by an unmounted namespace
				return fmt.Errorf("%w: %s is not a namespace", ErrNotExist, path)
			}
			return fmt.Errorf("setns %s: %w", path, err)
		}
		return fn()
	})
}

// onThread runs fn on a locked thread and gives the thread back only if it is
// again in the namespace that it came from.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		self, err := os.Open(Own)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open own namespace: %w", err)
			return
		}
		defer self.Close()
		err = fn()
		if back := unix.Setns(int(self.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		} // else: the goroutine ends locked and the runtime ends the thread
		done <- err
	}()
	return <-done
}

// Create makes a namespace and binds it at Dir/name. It fails with
// os.ErrExist where that name is taken, and leaves nothing behind on failure.
func Create(name string) (err error) {
	if err := prepareDir(); err != nil {
		return err
	}
	path := filepath.Join(Dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	f.Close()
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare network namespace: %w", err)
		}
		if err := unix.Mount(Own, path, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind namespace at %s: %w", path, err)
		}
		return nil
	})
}

// prepareDir makes Dir a shared mount of its own, as iproute2 does, so that a
// namespace unmounted here is gone in other mount namespaces too.
func prepareDir() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", Dir, err)
	}
	if unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "") == nil {
		return nil
	}
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s on itself: %w", Dir, err)
	}
	if err := unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make %s shared: %w", Dir, err)
	}
	return nil
}

// Delete unbinds and removes the name. A name that does not exist is no error.
// The namespace itself goes when its last process, socket or file goes.
func Delete(name string) error {
	path := filepath.Join(Dir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil &&
		!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	return nil
}

// CookieOf returns the cookie of the namespace at path (or of that name).
// Nothing is kept open. The error is ErrNotExist where there is no such namespace.
func CookieOf(path string) (Cookie, error) {
	f, err := os.Open(Path(path))
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("%w: %s", ErrNotExist, path)
	}
	if err != nil {
		return 0, fmt.Errorf("open namespace: %w", err)
	}
	defer f.Close()
	return CookieOfFile(f)
}

// Current returns the cookie of the calling thread's namespace.
func Current() (Cookie, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("netns cookie: %w", err)
	}
	defer unix.Close(fd)
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("netns cookie: %w", err)
	}
	return Cookie(c), nil
}
