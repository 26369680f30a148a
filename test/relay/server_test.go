package relay

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// Requests are HTTP, so that the proxy can route them, and come in one piece.
var (
	request  = []byte("GET / HTTP/1.1\r\nHost: envd\r\nE2b-Sandbox-Id: iabc\r\nE2b-Sandbox-Port: 49983\r\n\r\n")
	download = []byte("GET /bulk HTTP/1.1\r\nHost: envd\r\nE2b-Sandbox-Id: iabc\r\nE2b-Sandbox-Port: 49983\r\n\r\n")
	upload   = []byte("PUT /bulk HTTP/1.1\r\nHost: envd\r\nE2b-Sandbox-Id: iabc\r\nE2b-Sandbox-Port: 49983\r\nContent-Length: 1000000000000\r\n\r\n")
	response = []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	endless  = []byte("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
)

// What a connection of the server's does.
const (
	answers = iota
	sends
	sinks
)

// serve answers requests at an address, on one thread, with as few calls as can
// be: what is measured is who is in between.
func serve(args []string) error {
	at, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	ln, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(ln, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	_ = unix.SetsockoptInt(ln, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Bind(ln, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		return err
	}
	if err := unix.Listen(ln, 65535); err != nil {
		return err
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := watch(ep, ln, unix.EPOLLIN); err != nil {
		return err
	}
	fmt.Println("serves")
	does := make(map[int32]int)
	buf, chunk := make([]byte, 256<<10), make([]byte, 256<<10)
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(ep, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, ev := range events[:max(n, 0)] {
			if ev.Fd == int32(ln) {
				acceptInto(ep, ln, does)
				continue
			}
			if !step(ep, ev.Fd, does, buf, chunk) {
				delete(does, ev.Fd)
				unix.Close(int(ev.Fd))
			}
		}
	}
}

func watch(ep, fd int, events uint32) error {
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

func acceptInto(ep, ln int, does map[int32]int) {
	for {
		fd, _, err := unix.Accept4(ln, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		does[int32(fd)] = answers
		_ = watch(ep, fd, unix.EPOLLIN) // a connection lost shows as one that hangs
	}
}

// step does what one event asks for; false ends the connection.
func step(ep int, fd int32, does map[int32]int, buf, chunk []byte) bool {
	if does[fd] == sends {
		n, err := unix.Write(int(fd), chunk)
		return n > 0 || err == unix.EAGAIN
	}
	n, err := unix.Read(int(fd), buf)
	if err == unix.EAGAIN {
		return true
	}
	if n <= 0 {
		return false
	}
	if does[fd] == sinks {
		return true
	}
	switch b := buf[:n]; {
	case bytes.HasPrefix(b, []byte("PUT")):
		does[fd] = sinks
		return true
	case bytes.HasPrefix(b, []byte("GET /bulk")):
		does[fd] = sends
		_ = unix.EpollCtl(ep, unix.EPOLL_CTL_MOD, int(fd), &unix.EpollEvent{Events: unix.EPOLLOUT, Fd: fd})
		n, err = unix.Write(int(fd), endless)
		return n > 0 && err == nil
	}
	n, err = unix.Write(int(fd), response)
	return n > 0 && err == nil
}

// leastProxy does the least that a process in between can do for one connection at
// a time, and for requests and answers that come in one piece: four calls that
// block. It dials from inside a namespace, as a fused proxy does.
func leastProxy(args []string) error {
	l, err := net.Listen("tcp4", args[0])
	if err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(args[1])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	for buf := make([]byte, 64<<10); ; {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		f, err := c.(*net.TCPConn).File() // which blocks
		c.Close()
		if err != nil {
			return err
		}
		back := -1
		err = netns.Do(args[2], func() (err error) { back, err = dial(to, 0); return err })
		if err == nil {
			err = passOn(int(f.Fd()), back, buf)
			unix.Close(back)
		}
		if err != nil {
			return err
		}
		f.Close()
	}
}

func passOn(front, back int, buf []byte) error {
	for from, onto := front, back; ; from, onto = onto, from {
		n, err := readFD(from, buf)
		if err != nil || n == 0 {
			return err
		}
		if _, err := writeFD(onto, buf[:n]); err != nil {
			return err
		}
	}
}

// copyProxy is what a Go program does at first: a goroutine a direction and io.Copy.
func copyProxy(args []string) error {
	l, err := net.Listen("tcp4", args[0])
	if err != nil {
		return err
	}
	fmt.Println("copies")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			b, err := net.Dial("tcp4", args[1])
			if err != nil {
				return
			}
			defer b.Close()
			done := make(chan struct{})
			go func() {
				_, _ = io.Copy(b, c)
				_ = b.(*net.TCPConn).CloseWrite()
				close(done)
			}()
			_, _ = io.Copy(c, b)
			_ = c.(*net.TCPConn).CloseWrite()
			<-done
		}()
	}
}
