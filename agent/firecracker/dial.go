package firecracker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// errNotFirecracker is returned where another process serves the socket: what it
// says of itself is nothing that the VMM says.
var errNotFirecracker = errors.New("the socket is another process's")

// dialer connects to the socket as the process sees it: E2B's Firecrackers have a
// mount namespace of their own, a jailed one a root of its own.
func dialer(pid int, socket string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := dial(ctx, within(pid, socket))
		if errors.Is(err, os.ErrPermission) && filepath.IsAbs(socket) { // its root is closed to us
			conn, err = dial(ctx, socket)
		}
		if err != nil {
			return nil, err
		}
		if err := servedBy(conn, pid); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

// within is a path of that process's own as we can use it.
func within(pid int, socket string) string {
	root := "root"
	if !filepath.IsAbs(socket) {
		root = "cwd"
	}
	return filepath.Join("/proc", strconv.Itoa(pid), root, socket)
}

// maxPath is what sun_path holds, less its zero.
const maxPath = 107

func dial(ctx context.Context, socket string) (*net.UnixConn, error) {
	if len(socket) > maxPath {
		dir, err := unix.Open(filepath.Dir(socket), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: filepath.Dir(socket), Err: err}
		}
		defer unix.Close(dir)
		socket = fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(socket))
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// servedBy holds that it was this process that listened.
func servedBy(conn *net.UnixConn, pid int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("ask who listens: %w", failed)
	}
	if int(cred.Pid) != pid {
		return fmt.Errorf("%w: pid %d listens there", errNotFirecracker, cred.Pid)
	}
	return nil
}
