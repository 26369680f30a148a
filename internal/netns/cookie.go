package netns

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// CookieOfFile returns the cookie of the namespace that f is open on, without
// entering it where the kernel can tell (about 1 us, else 40). The error is
// ErrNotExist where f is not a network namespace, e.g. the plain file that a
// name is before its namespace is bound there.
func CookieOfFile(f *os.File) (Cookie, error) {
	typ, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if errors.Is(err, unix.ENOTTY) || (err == nil && typ != unix.CLONE_NEWNET) {
		return 0, fmt.Errorf("%w: %s is not one", ErrNotExist, f.Name())
	}
	if err != nil {
		return 0, fmt.Errorf("type of namespace %s: %w", f.Name(), err)
	}
	if idIsCookie() {
		return idOf(f)
	}
	return cookieWithin(f)
}

// cookieWithin enters the namespace to ask a socket of it.
func cookieWithin(f *os.File) (c Cookie, err error) {
	err = onThread(func() error {
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns %s: %w", f.Name(), err)
		}
		c, err = Current()
		return err
	})
	return c, err
}

// idOf asks for the namespace's id (NS_GET_ID, Linux 6.18).
func idOf(f *os.File) (Cookie, error) {
	var id uint64
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.NS_GET_ID, uintptr(unsafe.Pointer(&id)))
	if errno != 0 {
		return 0, fmt.Errorf("id of namespace %s: %w", f.Name(), errno)
	}
	return Cookie(id), nil
}

// idIsCookie says whether this kernel gives a network namespace's id and its
// cookie one value. It is so since Linux 6.18 (net->net_cookie is taken from the
// namespace tree), but the kernel promises it nowhere: compare once, in a fresh
// namespace, because the first of a host may have 1 for both by chance.
var idIsCookie = sync.OnceValue(func() bool {
	var id, cookie Cookie
	err := onThread(func() error {
		// Without the right to make one, our own must do.
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil && !errors.Is(err, unix.EPERM) {
			return err
		}
		f, err := os.Open(Own)
		if err != nil {
			return err
		}
		defer f.Close()
		if id, err = idOf(f); err != nil {
			return err
		}
		cookie, err = Current()
		return err
	})
	return err == nil && id == cookie
})
