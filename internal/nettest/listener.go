package nettest

import (
	"net/netip"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Deaf is a TCP socket that listens and accepts nothing.
type Deaf struct {
	t    testing.TB
	ns   string
	addr *unix.SockaddrInet4
}

// DeafListener makes one in a namespace, with a queue of that length. It goes with
// the test.
func DeafListener(t testing.TB, ns string, at netip.AddrPort, queue int) Deaf {
	t.Helper()
	d := Deaf{t, ns, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}}
	d.socket("listens", func(fd int) error {
		if err := unix.Bind(fd, d.addr); err != nil {
			return err
		}
		return unix.Listen(fd, queue)
	})
	return d
}

// Fill begins connections to it, which stay until the test's end.
func (d Deaf) Fill(connections int) {
	d.t.Helper()
	for range connections {
		d.socket("connects", func(fd int) error {
			if err := unix.Connect(fd, d.addr); err != unix.EINPROGRESS {
				return err
			}
			return nil
		})
	}
}

func (d Deaf) socket(does string, fn func(fd int) error) {
	d.t.Helper()
	In(d.t, d.ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), does+" "+strconv.Itoa(d.addr.Port))
		d.t.Cleanup(func() { f.Close() })
		return fn(fd)
	})
}
